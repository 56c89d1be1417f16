"""Draws the chart: for each operation a group of bars with CPU milliseconds per operation; shorter is better.

It has its own background and follows the reader's colour scheme, so it is readable on light and dark pages.
"""

from collections.abc import Sequence
from html import escape

from bench.rounds import About, Row

AT_ONCE = 32
_WIDTH, _HEAD, _FOOT, _BAR, _BETWEEN, _GAP = 920, 70, 34, 13, 2, 14
_LABELS, _LONGEST = 106, 176
_COLUMN = _WIDTH // 2
_STYLE = """
  .ground { fill: #ffffff; stroke: #d5d9de } text { fill: #24292f } .quiet { fill: #57606a }
  .ours { fill: #1f7a4d } .peer { fill: #7d8ea3 } .other { fill: #b3bdc9 } .floor { fill: #d9b45b }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #161b22; stroke: #30363d } text { fill: #e6edf3 } .quiet { fill: #9aa4af }
    .ours { fill: #3fb27a } .peer { fill: #7489a3 } .other { fill: #4e5d70 } .floor { fill: #b8923a }
  }
"""
COLOURS = {
    "gatepost": "ours", "gatepost resource": "ours", "oidc-provider": "peer", "plain MCP, Python": "peer",
    "better-auth": "other", "plain MCP, TypeScript": "other", "floor": "floor",
}  # fmt: skip  # a table
SHORT = {
    "gatepost resource": "Gatepost", "gatepost": "Gatepost", "plain MCP, Python": "Python SDK",
    "plain MCP, TypeScript": "TypeScript SDK",
}  # fmt: skip  # a table


_NOTES = (
    "Each group has its own scale.",
    "Code flow: /authorize with a remembered consent, then /token.",
    "Floor: one signature and one row on disk, on bare ASGI.",
    "SDK: that MCP SDK's plain server, checking the same tokens.",
    "SQLite everywhere, on disk before the answer; one core.",
)


def drawn(medians: Sequence[Row], about: About) -> str:
    """An SVG of the rows with the highest concurrency. Each group has its own scale, so compare only within a group."""
    groups: dict[str, list[Row]] = {}
    for row in medians:
        if row.at_once == max(one.at_once for one in medians):
            groups.setdefault(row.operation, []).append(row)
    columns = ("Authorization server", False), ("Resource server (MCP tools)", True)
    parts, heights = [], []
    for place, (title, of_tools) in enumerate(columns):
        those = [group for name, group in groups.items() if name.startswith("tools/") is of_tools]
        drawing, height = _column(title, those, place * _COLUMN)
        parts += drawing
        heights.append(height)
    parts += [_text(_COLUMN + 16, heights[-1] + 28 + 18 * at, line, kind="quiet") for at, line in enumerate(_NOTES)]
    return "\n".join(
        [*_frame(max(heights[0], heights[1] + 28 + 18 * len(_NOTES)) + _FOOT, about), *parts, "</svg>", ""]
    )


def _frame(height: int, about: About) -> list[str]:
    rest = "" if about.load_average < about.cores else f", busy with other work (load average {about.load_average:g})"
    foot = f"{about.date}, {about.cores} cores of {about.machine}, Python {about.python}{rest}. make bench"
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-size="12"'
        ' font-family="system-ui, sans-serif" role="img" aria-label="CPU milliseconds per operation">',
        f"<style>{_STYLE}</style>",
        f'<rect class="ground" x="0.5" y="0.5" width="{_WIDTH - 1}" height="{height - 1}" rx="6"/>',
        _text(16, 28, f"CPU milliseconds per operation, {AT_ONCE} at a time: shorter is better", size=15, bold=True),
        _text(16, height - 14, foot, kind="quiet"),
    ]


def _column(title: str, groups: list[list[Row]], left: int) -> tuple[list[str], int]:
    parts, y = [_text(left + 16, _HEAD - 14, title, kind="quiet", bold=True)], _HEAD
    for group in groups:
        parts.append(_text(left + _LABELS, y + 11, group[0].operation.replace(" wire", ""), "end", bold=True))
        longest = max(row.cpu_ms for row in group) or 1
        for row in group:
            parts += _bar(row, left + _LABELS + 10, y, longest)
            y += _BAR + _BETWEEN
        y += _GAP
    return parts, y


def _bar(row: Row, x: int, y: int, longest: float) -> list[str]:
    length = max(1, round(_LONGEST * row.cpu_ms / longest))
    said = f"{row.cpu_ms:.{3 if row.cpu_ms < 1 else 2}f}  {SHORT.get(row.server, row.server)}"
    kind = "" if COLOURS[row.server] == "ours" else "quiet"
    return [
        f'<rect class="{COLOURS[row.server]}" x="{x}" y="{y}" width="{length}" height="{_BAR}" rx="2"/>',
        _text(x + length + 6, y + 11, said, kind=kind),
    ]


def _text(
    x: int, y: int, text: str, anchor: str = "start", *, kind: str = "", size: int = 0, bold: bool = False
) -> str:
    options = {
        "text-anchor": anchor,
        "class": kind,
        "font-size": str(size or ""),
        "font-weight": "bold" if bold else "",
    }
    told = "".join(f' {name}="{value}"' for name, value in options.items() if value)
    return f'<text x="{x}" y="{y}"{told}>{escape(text)}</text>'
