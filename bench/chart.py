"""The chart: for each operation a group of bars, CPU milliseconds an operation; shorter is better."""

from collections.abc import Sequence
from html import escape
from typing import Protocol

_WIDTH, _LEFT, _RIGHT, _BAR, _GAP, _TOP = 860, 190, 210, 15, 14, 54
_COLOURS = {"gatepost": "#2f6f4f", "gatepost resource": "#2f6f4f", "floor": "#c9c9c2"}
_OTHER = "#8a94a6"


class Cost(Protocol):
    """What is drawn."""

    @property
    def operation(self) -> str: ...
    @property
    def at_once(self) -> int: ...
    @property
    def server(self) -> str: ...
    @property
    def cpu_ms(self) -> float: ...


def drawn(rows: Sequence[Cost], at_once: int) -> str:
    """An SVG of the rows with that load. Each group has a scale of its own: only its own bars compare."""
    groups: dict[str, list[Cost]] = {}
    for row in rows:
        if row.at_once == at_once:
            groups.setdefault(row.operation, []).append(row)
    parts, y = [], _TOP
    for operation, group in groups.items():
        parts.append(_text(_LEFT - 12, y + 12, operation, "end", bold=True))
        longest = max(row.cpu_ms for row in group) or 1
        for row in group:
            parts += _bar(row, y, longest)
            y += _BAR + 3
        y += _GAP
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y}" font-family="sans-serif" font-size="13">'
    )
    ground = f'<rect width="{_WIDTH}" height="{y}" fill="#fff"/>'
    title = _text(16, 28, f"CPU milliseconds an operation, {at_once} at a time (shorter is better)", bold=True)
    return "\n".join([head, ground, title, *parts, "</svg>", ""])


def _bar(row: Cost, y: int, longest: float) -> list[str]:
    length = max(1, round((_WIDTH - _LEFT - _RIGHT) * row.cpu_ms / longest))
    colour = _COLOURS.get(row.server, _OTHER)
    return [
        f'<rect x="{_LEFT}" y="{y}" width="{length}" height="{_BAR}" fill="{colour}"/>',
        _text(_LEFT + length + 6, y + 12, f"{row.cpu_ms:.3f}  {row.server}"),
    ]


def _text(x: int, y: int, text: str, anchor: str = "start", *, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{weight} fill="#222">{escape(text)}</text>'
