"""The files of ``deploy/`` and the page about them agree."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.proxies.reverse import COMPOSE, DEPLOY, ENDINGS, KINDS, SHAPES, file_of, require, settings_in
from tests.support.processes import ROOT

PAGE = ROOT / "docs" / "behind-a-proxy.md"
COLUMNS = ("OAUTH_ISSUER", "MCP_RESOURCE_URL", "TRUSTED_PROXIES", "ALLOWED_HOSTS")


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_has_one_set_of_settings(shape: str) -> None:
    """For every proxy; and the page's table lists them."""
    (row,) = re.findall(rf"^\| `{shape}`.*\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    cells = [cell.strip() for cell in row.split("|")[2:-1]]
    told = {name: cell for name, cell in zip(COLUMNS, cells, strict=True) if cell != "–"}
    for kind in KINDS:
        assert settings_in(file_of(kind, shape)) == told


@pytest.mark.parametrize("kind", KINDS)
def test_each_file_is_tried(kind: str) -> None:
    """Nobody would know whether a file that no test starts works."""
    there = {path.name for path in (DEPLOY / kind).iterdir()}
    assert there == {f"{shape}.{ENDINGS[kind]}" for shape in SHAPES}


def test_caddy_takes_the_file_of_compose(tmp_path: Path) -> None:
    """Complete and unchanged: the journeys use one IdP by its port, the file any number of them."""
    require("caddy")
    command = [str(shutil.which("caddy")), "validate", "--adapter", "caddyfile", "--config", str(COMPOSE)]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "DOMAIN": "mcp.example.com"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
