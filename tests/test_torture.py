"""The rows of `make torture`: each names tests that exist."""

import pytest

from tests.torture import ROOT, ROWS


@pytest.mark.parametrize("row", ROWS)
def test_each_row_is_there_with_its_tests(row: str) -> None:
    """Otherwise a renamed test would stop its row only at the next torture run; and the page names each row."""
    for test in ROWS[row]:
        file, _, name = test.partition("::")
        assert (ROOT / file).exists()
        assert not name or f"def {name}(" in (ROOT / file).read_text(encoding="utf-8")
    assert f"| {row} |" in (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
