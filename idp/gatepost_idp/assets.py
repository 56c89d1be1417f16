"""Finds the folders of templates and mails, in the installed package or at the top of a checkout."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parent.parent


def folder(name: str) -> Path:
    """The path of the folder ``name``; raises FileNotFoundError if it is in neither place."""
    for place in (_PACKAGE / name, _CHECKOUT / name):
        if place.is_dir():
            return place
    raise FileNotFoundError(f"Gatepost was installed without its folder {name!r}; install it again.")
