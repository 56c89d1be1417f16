"""`make bench` works; how fast anything is, is no test's business."""

import csv
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

from tests.support.processes import ROOT

OAUTH = {"metadata", "JWKS", "register", "code flow", "refresh", "introspection", "first page"}
TOOLS = {f"{method}, {era} wire" for method in ("tools/list", "tools/call") for era in ("2025", "2026")}


def test_a_short_run_measures_everything_and_writes_all_three_files(tmp_path: Path) -> None:
    """Every operation at our servers, the peer where npm can fetch it, the floor; a table, a chart, the raw rows."""
    short = ["--seconds", "0.2", "--warm-up", "0.1", "--rounds", "1", "--at-once", "2"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "compare.py"), *short, "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with (tmp_path / "rows.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    measured = {(row["server"], row["operation"]) for row in rows}
    assert {("gatepost", name) for name in OAUTH} <= measured
    assert {("gatepost resource", name) for name in TOOLS} <= measured
    assert {("plain MCP, Python", name) for name in TOOLS} <= measured
    assert ("floor", "refresh") in measured
    assert "left out" in done.stderr or {("oidc-provider", name) for name in OAUTH} <= measured
    assert all(int(row["operations"]) > 0 for row in rows)
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == done.stdout
    assert len(ET.parse(tmp_path / "chart.svg").findall("{*}rect")) == 1 + len(rows)  # noqa: S314 (our own file)
