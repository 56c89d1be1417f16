"""What proxies, filters and tunnels do to requests and answers; each is named as an operator would name it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

from tests.idp.doctor.front import Asked, Bend, Go, Reply, said

PAGE = b"<!doctype html><title>Welcome</title><h1>It works!</h1>"


def rewriting_host(host: str, only: str = "") -> Bend:
    """Sends the servers another Host; ``only``: for that public host only."""

    async def bend(asked: Asked, go: Go) -> Reply:
        if only and asked.host != only:
            return await go(asked)
        # The request is routed by its public name, and passed on with the other one.
        headers = tuple((name, host if name == "host" else value) for name, value in asked.headers)
        return await go(replace(asked, headers=headers))

    return bend


def answering(status: int, *, path: str = "", body: bytes = PAGE, kind: str = "text/html", **headers: str) -> Bend:
    """Answers requests below ``path`` itself."""

    async def bend(asked: Asked, go: Go) -> Reply:
        if not asked.path.startswith(path):
            return await go(asked)
        named = [(name.replace("_", "-"), value) for name, value in headers.items()]
        return said(status, body, kind, *named)

    return bend


def answering_exactly(status: int, path: str) -> Bend:
    """Answers requests for exactly ``path`` itself."""

    async def bend(asked: Asked, go: Go) -> Reply:
        return said(status, PAGE) if asked.path == path else await go(asked)

    return bend


async def redirecting_to_slash(asked: Asked, go: Go) -> Reply:
    """Adds a trailing slash, by a redirect."""
    if asked.path == "/mcp":
        return said(301, b"", "text/html", ("location", f"https://{asked.host}/mcp/"))
    return await go(asked)


async def redirecting_from_slash(asked: Asked, go: Go) -> Reply:
    """Removes a trailing slash, by a redirect."""
    if asked.path.endswith("/") and len(asked.path) > 1:
        return said(308, b"", "text/html", ("location", asked.path.rstrip("/")))
    return await go(asked)


def stripping(*names: str) -> Bend:
    """Removes headers from the answer."""

    async def bend(asked: Asked, go: Go) -> Reply:
        return (await go(asked)).without(*names)

    return bend


def adding(name: str, value: str) -> Bend:
    """Adds a header to the answer."""

    async def bend(asked: Asked, go: Go) -> Reply:
        return (await go(asked)).having((name, value))

    return bend


async def swallowing_authorization(asked: Asked, go: Go) -> Reply:
    """Removes the Authorization header, as if it were meant for the proxy."""
    return await go(replace(asked, headers=tuple(pair for pair in asked.headers if pair[0] != "authorization")))


async def swallowing_options(asked: Asked, go: Go) -> Reply:
    """Allows only GET and POST."""
    return said(405, PAGE) if asked.method == "OPTIONS" else await go(asked)


def filtering(agent: str, welcome: bool = False) -> Bend:
    """A challenge page for the User-Agent ``agent``, or for every other one."""

    async def bend(asked: Asked, go: Go) -> Reply:
        if (agent in asked.header("user-agent")) != welcome:
            return said(403, b"<h1>Just a moment...</h1>", "text/html", ("server", "cloudflare"))
        return await go(asked)

    return bend


async def replacing_errors(asked: Asked, go: Go) -> Reply:
    """A friendly page in place of every 400."""
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
    """Refuses bodies above ``size`` bytes."""

    async def bend(asked: Asked, go: Go) -> Reply:
        return said(413, PAGE) if len(asked.body) > size else await go(asked)

    return bend


def delaying(seconds: float, path: str = "/.well-known/oauth-authorization-server") -> Bend:
    """Delays answers below ``path``."""

    async def bend(asked: Asked, go: Go) -> Reply:
        if asked.path.startswith(path):
            await asyncio.sleep(seconds)
        return await go(asked)

    return bend


async def holding_back(asked: Asked, go: Go) -> Reply:
    """Passes an answer on only once it is complete."""
    reply = await go(asked)
    body = await reply.body()

    async def chunks() -> AsyncIterator[bytes]:
        yield body

    return replace(reply, chunks=chunks())


async def behind_the_times(asked: Asked, go: Go) -> Reply:
    """A machine whose clock is wrong."""
    return (await go(asked)).without("date").having(("date", "Thu, 01 Jan 2026 00:00:00 GMT"))
