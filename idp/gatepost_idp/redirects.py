"""Redirect URIs: which may be registered, and which match (RFC 8252, RFC 9700 section 2.1)."""

import re
import unicodedata
from urllib.parse import SplitResult, urlsplit

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_REFUSED_SCHEMES = frozenset((
    "javascript", "data", "file", "vbscript", "blob", "about", "ftp", "ws", "wss", "mailto", "tel", "sms",
    "view-source", "filesystem", "chrome", "intent", "jar",
))  # fmt: skip  # a table of words
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[\x21\x23-\x3b\x3d\x3f-\x5b\x5d\x5f\x61-\x7a\x7e]*")
MAX_LENGTH = 2048
_SHOWN = 300


def split(uri: str) -> SplitResult | None:
    """The parts of a redirect URI that may be registered, else None.

    Allowed are https, http on loopback, and private-use schemes; never user information, a fragment or a wildcard.
    """
    if len(uri) > MAX_LENGTH or _URI.fullmatch(uri) is None or "#" in uri or "*" in uri:
        return None
    try:
        parts = urlsplit(uri)
        _ = parts.port  # raises ValueError for an invalid port
    except ValueError:
        return None
    if "@" in parts.netloc or "%" in parts.netloc or parts.netloc.endswith(":"):  # browsers percent-decode a host
        return None
    if parts.scheme in ("http", "https"):
        is_open = parts.scheme == "https" and bool(parts.hostname)
        return parts if is_open or parts.hostname in LOOPBACK else None
    return parts if parts.scheme not in _REFUSED_SCHEMES and (parts.netloc or parts.path) else None


def canonical(uri: str) -> str:
    """``uri`` as a registration stores it: without the port of a loopback address, which varies."""
    parts = split(uri)
    if parts is None or not _is_loopback_http(parts) or parts.port is None:
        return uri
    return uri.replace(parts.netloc, parts.netloc.rpartition(":")[0], 1)  # as text: normalises nothing else


def matches(registered: tuple[str, ...], asked: str) -> bool:
    """Exact match, except that a loopback address matches on any port (RFC 8252 section 7.3).

    ``localhost``, ``127.0.0.1`` and ``[::1]`` are not interchangeable: different programs may listen on them.
    """
    parts = split(asked)
    if parts is None:
        return False
    return asked in registered or (_is_loopback_http(parts) and canonical(asked) in map(canonical, registered))


def is_private(uri: str) -> bool:
    """Whether nobody can prove who receives ``uri``: loopback or a private-use scheme (RFC 8252 section 8.6)."""
    parts = split(uri)
    return parts is None or parts.scheme != "https" or parts.hostname in LOOPBACK


def is_loopback(uri: str) -> bool:
    """Whether the host of ``uri`` is loopback: a program on the person's own computer."""
    parts = split(uri)
    return parts is not None and parts.hostname in LOOPBACK


def host_shown(uri: str) -> str:
    """Where ``uri`` leads, for pages and consents: host and port, on loopback only the host, or a private scheme."""
    parts = split(uri)
    if parts is None:
        return uri
    if _is_loopback_http(parts):
        return _host(parts)
    return parts.netloc.lower() if parts.scheme == "https" else f"{parts.scheme}:"


def shown(uri: str | None) -> str:
    """A URI for logs, without the parts that may be secret: user information, query values, the fragment."""
    if uri is None:
        return "none"
    whole, hash_mark, _ = uri[:_SHOWN].partition("#")
    before, question, query = whole.partition("?")
    scheme, slashes, rest = before.partition("://")
    authority, slash, path = rest.partition("/")
    names = "&".join(pair.partition("=")[0][:32] + ("=..." if "=" in pair else "") for pair in query.split("&"))
    place = f"{scheme}{slashes}{authority.rpartition('@')[2]}{slash}{path}" if slashes else before
    return place + (question and f"?{names}") + (hash_mark and "#...")


def _is_loopback_http(parts: SplitResult) -> bool:
    return parts.scheme == "http"


def _host(parts: SplitResult) -> str:
    name = str(parts.hostname)
    return f"[{name}]" if ":" in name else name


def plain_name(name: str, length: int = 40) -> str:
    """A client's name or other untrusted text in one line, without control or bidi characters, cut to ``length``."""
    kept = "".join(c if not unicodedata.category(c).startswith("C") else " " for c in name)
    words = " ".join(kept.split())
    return words if len(words) <= length else words[: length - 1] + "\N{HORIZONTAL ELLIPSIS}"
