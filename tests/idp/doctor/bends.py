"""What proxies, filters and tunnels do to what passes them; each is what an operator would call it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

from tests.idp.doctor.front import Asked, Bend, Go, Reply, said

PAGE = b"<!doctype html><title>Welcome</title><h1>It works!</h1>"


def rewriting_host(host: str, only: str = "") -> Bend:
    """Sends the servers another Host; ``only``: for that public host."""

    async def bend(asked: Asked, go: Go) -> Reply:
        if only and asked.host != only:
            return await go(asked)
        # Under its public name the request finds its route; what goes on carries the other one.
        headers = tuple((name, host if name == "host" else value) for name, value in asked.headers)
        return await go(replace(asked, headers=headers))

    return bend


def answering(status: int, *, path: str = "", body: bytes = PAGE, kind: str = "text/html", **headers: str) -> Bend:
    """Answers itself, below ``path``."""

    async def bend(asked: Asked, go: Go) -> Reply:
        if not asked.path.startswith(path):
            return await go(asked)
        named = [(name.replace("_", "-"), value) for name, value in headers.items()]
        return said(status, body, kind, *named)

    return bend


def answering_exactly(status: int, path: str) -> Bend:
    """Answers itself at ``path`` alone."""

    async def bend(asked: Asked, go: Go) -> Reply:
        return said(status, PAGE) if asked.path == path else await go(asked)

    return bend


async def redirecting_to_slash(asked: Asked, go: Go) -> Reply:
    """Adds a slash at the end, by a redirect."""
    if asked.path == "/mcp":
        return said(301, b"", "text/html", ("location", f"https://{asked.host}/mcp/"))
    return await go(asked)


async def redirecting_from_slash(asked: Asked, go: Go) -> Reply:
    """Takes a slash away from the end, by a redirect."""
    if asked.path.endswith("/") and len(asked.path) > 1:
        return said(308, b"", "text/html", ("location", asked.path.rstrip("/")))
    return await go(asked)


def stripping(*names: str) -> Bend:
    """Takes headers off the answer."""

    async def bend(asked: Asked, go: Go) -> Reply:
        return (await go(asked)).without(*names)

    return bend


def adding(name: str, value: str) -> Bend:
    """Adds a header to the answer."""

    async def bend(asked: Asked, go: Go) -> Reply:
        return (await go(asked)).having((name, value))

    return bend


async def swallowing_authorization(asked: Asked, go: Go) -> Reply:
    """The Authorization header is the proxy's own affair, it thinks."""
    return await go(replace(asked, headers=tuple(pair for pair in asked.headers if pair[0] != "authorization")))


async def swallowing_options(asked: Asked, go: Go) -> Reply:
    """Knows GET and POST."""
    return said(405, PAGE) if asked.method == "OPTIONS" else await go(asked)


def filtering(agent: str, welcome: bool = False) -> Bend:
    """A challenge page for whoever is called ``agent``; or for all others, where that one is welcome."""

    async def bend(asked: Asked, go: Go) -> Reply:
        if (agent in asked.header("user-agent")) != welcome:
            return said(403, b"<h1>Just a moment...</h1>", "text/html", ("server", "cloudflare"))
        return await go(asked)

    return bend


async def replacing_errors(asked: Asked, go: Go) -> Reply:
    """A friendly page instead of whatever 400 says."""
    reply = await go(asked)
    return said(400, PAGE) if reply.status == 400 else reply


def replacing(old: bytes, new: bytes, path: str = "/.well-known/") -> Bend:
    """Rewrites bodies below ``path``."""

    async def bend(asked: Asked, go: Go) -> Reply:
        reply = await go(asked)
        if not asked.path.startswith(path):
            return reply
        body = (await reply.body()).replace(old, new)

        async def chunks() -> AsyncIterator[bytes]:
            yield body

        return replace(reply, chunks=chunks())

    return bend


def limiting(size: int) -> Bend:
    """No body above ``size`` bytes."""

    async def bend(asked: Asked, go: Go) -> Reply:
        return said(413, PAGE) if len(asked.body) > size else await go(asked)

    return bend


def delaying(seconds: float, path: str = "/.well-known/oauth-authorization-server") -> Bend:
    """Takes its time, below ``path``."""

    async def bend(asked: Asked, go: Go) -> Reply:
        if asked.path.startswith(path):
            await asyncio.sleep(seconds)
        return await go(asked)

    return bend


async def holding_back(asked: Asked, go: Go) -> Reply:
    """Passes an answer on once it has the whole of it."""
    reply = await go(asked)
    body = await reply.body()

    async def chunks() -> AsyncIterator[bytes]:
        yield body

    return replace(reply, chunks=chunks())


async def behind_the_times(asked: Asked, go: Go) -> Reply:
    """A machine whose clock nobody set."""
    return (await go(asked)).without("date").having(("date", "Thu, 01 Jan 2026 00:00:00 GMT"))
