"""docs/troubleshooting.md and doctor agree, and a test provokes every fault."""

import re
from pathlib import Path

from gatepost_idp.operate.doctor import inside, outside, troubleshooting
from tests.support.processes import ROOT

HERE = Path(__file__).parent


def test_the_table_is_what_doctor_knows() -> None:
    """The page has the table generated from doctor's faults: no row is missing, outdated or superfluous."""
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    assert page.partition(troubleshooting.BEGIN)[2] == troubleshooting.table().partition(troubleshooting.BEGIN)[2]


def test_every_fault_has_a_name_of_its_own() -> None:
    """A name is what scripts compare and what the page is searched for."""
    names = [fault.name for fault in troubleshooting.faults()]
    assert len(names) == len(set(names))
    assert [name for name in names if not re.fullmatch(r"[a-z0-9-]+", name)] == []


def test_every_fault_is_provoked() -> None:
    """Every fault is found in at least one test, or nobody would know that doctor can find it."""
    tests = "".join(file.read_text(encoding="utf-8") for file in HERE.glob("test_*.py"))
    assert [fault.name for fault in troubleshooting.faults() if f'"{fault.name}"' not in tests] == []


def test_the_three_complaints_are_answered() -> None:
    """The page has the complaints in people's own words, beside the setting."""
    table = troubleshooting.table()
    for words, setting in [
        ("Could not connect: the URL lacks /mcp", "the MCP URL"),
        ("Could not connect from a web page; the log says origin_refused", "ALLOWED_ORIGINS"),
        ("A login loop, consent never appears", "OAUTH_ISSUER"),
        ("Connected but no tools: the account holds none of the scopes", "gatepost users grant"),
    ]:
        assert any(words in row and setting in row for row in table.splitlines()), words


def test_what_a_check_needs_comes_before_it() -> None:
    """Checks run in an order in which causes come before consequences."""
    for checks in ((*inside.CHEAP, *inside.REST), outside.CHECKS):
        seen: set[str] = set()
        for check in checks:
            assert seen.issuperset(check.needs), check.name
            seen.add(check.name)


def test_the_page_speaks_the_words_of_the_log() -> None:
    """Every event that the page names is one that a server logs, so that the log leads to the page."""
    sources = "".join(file.read_text() for part in ("idp", "resource") for file in (ROOT / part).rglob("*.py"))
    told = " ".join(fault.symptom for fault in troubleshooting.faults() if "the log says" in fault.symptom)
    events = re.findall(r"[a-z]+(?:_[a-z]+)+", told)
    assert {"foreign_host", "host_refused", "origin_refused", "keys_not_fetched"}.issubset(events)
    assert [event for event in events if f'("{event}"' not in re.sub(r"\(\s+", "(", sources)] == []
