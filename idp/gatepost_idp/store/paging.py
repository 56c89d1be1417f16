"""Pages of long lists: read along an index in pieces, and never more than a bound."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

SIZE = 25
"""Rows on a page."""
PIECE = 200
"""Rows that one query reads."""
PIECES = 10
"""The most pieces that one page reads, which bounds the cost of a filter that matches few rows."""
_DIGITS = 15


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page of a list. ``following`` is where the next page begins, empty at the end of the list."""

    rows: tuple[T, ...]
    following: str


Piece = Callable[[str], Sequence[tuple[str, T]]]
"""Reads PIECE rows from a place on, each paired with its own place; fewer only at the end of the list."""


def collected(piece: Piece[T], start: str, fits: Callable[[T], bool] = lambda _row: True) -> Page[T]:
    """The first SIZE rows from ``start`` on that fit; a page may have fewer although another follows."""
    found: list[T] = []
    for _ in range(PIECES):
        rows = piece(start)
        is_last = len(rows) < PIECE
        for place, row in rows if is_last else rows[:-1]:
            if not fits(row):
                continue
            if len(found) == SIZE:
                return Page(tuple(found), place)
            found.append(row)
        if is_last:
            return Page(tuple(found), "")
        start = rows[-1][0]
    return Page(tuple(found), start)


def place(at: int, row_id: str) -> str:
    """A row's place in a list ordered by an instant in milliseconds, then by id."""
    return f"{at}.{row_id}"


def placed(text: str) -> tuple[int, str]:
    """The instant and id of a place; the beginning of the (newest first) list if ``text`` is empty or malformed."""
    at, _, row_id = text.partition(".")
    if not (at.isascii() and at.isdigit() and len(at) <= _DIGITS):
        return 10**_DIGITS, ""
    return int(at), row_id
