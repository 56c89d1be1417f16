"""Every header from which some server takes its own name, scheme or path, or the caller's address."""

import re

FORWARDED = {
    "x-forwarded-host": "evil.test",
    "x-forwarded-proto": "https",
    "x-forwarded-port": "444",
    "x-forwarded-prefix": "/evil",
    "x-forwarded-for": "203.0.113.9",
    "x-forwarded-server": "evil.test",
    "x-forwarded-scheme": "http",
    "x-original-url": "/evil",
    "x-original-host": "evil.test",
    "x-rewrite-url": "/evil",
    "x-host": "evil.test",
    "x-real-ip": "203.0.113.9",
    "forwarded": "for=203.0.113.9;host=evil.test;proto=https",
}

_TOKEN = "[A-Za-z0-9_-]{11,}"
_SIGNED = rf"{_TOKEN}\.[A-Za-z0-9_-]{{6}}\.{_TOKEN}"
_RANDOM = re.compile(rf"{_SIGNED}|{_TOKEN}|\b\d{{4}} \d{{4}}\b")


def masked(text: str) -> str:
    """The text with its random parts masked: ids, tokens, nonces, digests and mailed codes."""
    return _RANDOM.sub("*", text)
