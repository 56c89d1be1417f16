"""When Python looks for garbage: not while the server starts, and seldom once it serves (docs/performance)."""

import gc


def hold_back() -> None:
    """Not until `settle`. What a start makes is there to stay, and looking at it again and again is a sixth of it."""
    gc.disable()


def settle() -> None:
    """What is there stays and is never looked at again, which cost tail latency: for the end of the start."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    gc.enable()
