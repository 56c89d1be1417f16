"""What the layout of the checkout must not break: folders are found, and Python's own modules stay reachable."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from gatepost_idp import assets
from gatepost_idp.signin import words
from tests.support.processes import ROOT, environment_of


def test_templates_and_mails_are_found() -> None:
    """In the checkout's top folder, or inside the installed package."""
    assert (assets.folder("templates") / "base.html").is_file()
    assert (assets.folder("emails") / "sign_in" / "subject.txt").is_file()


def test_the_packaged_folder_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An installed server never reads folders that happen to lie beside it."""
    packaged, checkout = tmp_path / "package", tmp_path / "checkout"
    for place in (packaged, checkout):
        (place / "templates").mkdir(parents=True)
    (checkout / "emails").mkdir()
    monkeypatch.setattr(assets, "_PACKAGE", packaged)
    monkeypatch.setattr(assets, "_CHECKOUT", checkout)
    assert assets.folder("templates") == packaged / "templates"
    assert assets.folder("emails") == checkout / "emails"


def test_a_folder_that_is_missing_is_named() -> None:
    """The error names it and says what to do."""
    with pytest.raises(FileNotFoundError, match="without its folder 'nothing'; install it again"):
        assets.folder("nothing")


def test_resource_is_still_pythons_own_module() -> None:
    """The top folder ``resource`` is not a package: psutil and others would silently lose their limits."""
    code = "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 0)"
    for folder in (ROOT, ROOT / "idp", ROOT / "tests"):
        said = subprocess.run(
            [sys.executable, "-c", code], env=environment_of(), cwd=folder, capture_output=True, text=True, check=True
        )
        assert said.stdout == "True\n"
    assert hasattr(importlib.import_module("resource"), "getrlimit")


def test_no_module_is_named_like_one_of_pythons() -> None:
    """``token``, ``email``, ``secrets``, ``code``, ``types``, ``logging``: any of them could be shadowed."""
    names = {path.stem for path in (ROOT / "idp" / "gatepost_idp").rglob("*.py")} - {"__init__", "__main__"}
    # The product's name for the demo's mail server; Python's module of that name is not used here.
    assert names & sys.stdlib_module_names <= {"mailbox"}


def test_references_are_two_plain_words() -> None:
    """Easy to compare by eye: many of them, none like another."""
    assert len(set(words._FIRST)) == len(words._FIRST)
    assert len(set(words._SECOND)) == len(words._SECOND)
    assert len(words._FIRST) * len(words._SECOND) > 2000
    for _ in range(20):
        first, second = words.reference().split(" ")
        assert first in words._FIRST
        assert second in words._SECOND
