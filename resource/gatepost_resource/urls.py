"""Reads a URL's host and origin, and derives URLs from it without normalising a byte."""

import ipaddress
from urllib.parse import urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}


def is_loopback(host: str) -> bool:
    """Whether a host name (without port, an IPv6 address with or without brackets) means this machine."""
    bare = host.strip("[]").lower()
    if bare == "localhost":
        return True
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return False


def hostname(url: str) -> str:
    """The host of a URL in lower case, an IPv6 address without brackets."""
    return urlsplit(url).hostname or ""


def origin(url: str) -> str:
    """Scheme, host and port as a browser writes them in ``Origin`` (RFC 6454, section 6.2)."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    name = f"[{host}]" if ":" in host else host
    if parts.port is None or parts.port == DEFAULT_PORTS.get(parts.scheme):
        return f"{parts.scheme}://{name}"
    return f"{parts.scheme}://{name}:{parts.port}"


def well_known(url: str, name: str) -> str:
    """The path-inserted address of a well-known document (RFC 8414, section 3.1; RFC 9728, section 3.1)."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/.well-known/{name}{parts.path.rstrip('/')}"


def below(url: str, path: str) -> str:
    """``path``, which begins with a slash, appended to a URL that may end in one."""
    return url.rstrip("/") + path
