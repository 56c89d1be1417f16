"""The rate limiter's counters: a window ends by itself, and idle networks' counters are dropped."""

from collections.abc import Callable

import pytest

from gatepost_idp import brakes
from gatepost_idp.brakes import Windows

Jump = Callable[[float], None]


@pytest.fixture
def jump(monkeypatch: pytest.MonkeyPatch) -> Jump:
    """Moves the monotonic clock ahead, which is the one used, since the wall clock may be set back."""
    now = [1_000_000.0]
    monkeypatch.setattr(brakes, "monotonic", lambda: now[0])

    def ahead(seconds: float) -> None:
        now[0] += seconds

    return ahead


def test_a_window_counts_until_it_ends_and_then_from_zero(jump: Jump) -> None:
    """From its own first request on, whatever others do; its end does not move."""
    windows = Windows()
    assert [windows.incr("a", 60), windows.incr("a", 60), windows.incr("b", 60, amount=3)] == [1, 2, 3]
    ends = windows.get_expiry("a")
    jump(59)
    assert windows.incr("a", 60) == windows.get("a") == 3
    assert windows.get_expiry("a") == ends
    jump(1)
    assert windows.get("a") == 0
    assert windows.incr("a", 60) == 1
    assert windows.get_expiry("a") == ends + 60


def test_a_flood_from_many_networks_leaves_nothing_behind(jump: Jump) -> None:
    """Ended windows are dropped at the first request a minute later; open ones stay."""
    windows = Windows()
    for number in range(1_000):
        windows.incr(f"network {number}", 60)
    jump(30)
    windows.incr("open", 60)
    jump(31)
    assert windows.incr("open", 60) == 2
    assert windows.reset() == 1


def test_a_counter_can_be_forgotten() -> None:
    """One counter can be dropped, or all of them."""
    windows = Windows()
    windows.incr("a", 60)
    windows.incr("b", 60)
    windows.clear("a")
    assert (windows.get("a"), windows.get("b")) == (0, 1)
    assert windows.check()
    assert windows.reset() == 1
    assert windows.get("b") == 0
