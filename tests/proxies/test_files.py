"""The files of ``deploy/`` and the page about them say the same."""

import re

import pytest

from tests.proxies.reverse import DEPLOY, ENDINGS, KINDS, SHAPES, file_of, settings_in
from tests.support.processes import ROOT

PAGE = ROOT / "docs" / "behind-a-proxy.md"
COLUMNS = ("OAUTH_ISSUER", "MCP_RESOURCE_URL", "TRUSTED_PROXIES", "ALLOWED_HOSTS")


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_has_one_set_of_settings(shape: str) -> None:
    """Whichever proxy it is; and the page's table has them."""
    (row,) = re.findall(rf"^\| `{shape}`.*\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    cells = [cell.strip() for cell in row.split("|")[2:-1]]
    told = {name: cell for name, cell in zip(COLUMNS, cells, strict=True) if cell != "–"}
    for kind in KINDS:
        assert settings_in(file_of(kind, shape)) == told


@pytest.mark.parametrize("kind", KINDS)
def test_each_file_is_tried(kind: str) -> None:
    """One that no test starts would be one that nobody knows to work."""
    there = {path.name for path in (DEPLOY / kind).iterdir()}
    assert there == {f"{shape}.{ENDINGS[kind]}" for shape in SHAPES}
