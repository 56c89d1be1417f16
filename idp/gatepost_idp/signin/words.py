"""Two plain words shown on the waiting page and in its mail, by which a person matches the one to the other."""

import secrets

_FIRST = (
    "amber", "brave", "bright", "calm", "clear", "copper", "coral", "cosy", "crisp", "early", "fair", "fresh",
    "gentle", "golden", "green", "happy", "honest", "jolly", "kind", "lively", "lucky", "merry", "mild", "neat",
    "noble", "olive", "plain", "proud", "quick", "quiet", "rapid", "ruby", "sandy", "silver", "smooth", "snowy",
    "solid", "steady", "sunny", "swift", "tidy", "violet", "warm", "wide", "wise", "young",
)  # fmt: skip  # a list of words
_SECOND = (
    "acorn", "apple", "badger", "beacon", "birch", "brook", "candle", "canyon", "cedar", "cherry", "cloud", "comet",
    "daisy", "dolphin", "falcon", "fern", "forest", "garden", "harbor", "heron", "island", "lantern", "lemon",
    "maple", "meadow", "mountain", "ocean", "orchard", "otter", "pebble", "pine", "planet", "plum", "river",
    "robin", "rocket", "saddle", "spring", "stone", "summit", "thistle", "tulip", "valley", "walnut", "willow",
    "window",
)  # fmt: skip  # a list of words


def reference() -> str:
    """Two random words such as ``amber falcon``; not a secret."""
    return f"{secrets.choice(_FIRST)} {secrets.choice(_SECOND)}"
