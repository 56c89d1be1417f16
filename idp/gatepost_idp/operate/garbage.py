"""Tunes Python's garbage collector: off during the start, rare while serving (docs/performance)."""

import gc


def hold_back() -> None:
    """Turns collection off until `settle`: what a start allocates stays, and scanning it takes a sixth of the start."""
    gc.disable()


def settle() -> None:
    """Ends the start: exempts existing objects from collection, for tail latency, and turns it on with rare runs."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    gc.enable()
