"""The floor: the least work of any server that signs and stores. ``python bench/floor.py PORT DATABASE``.

A bare ASGI application on the same uvicorn: GET returns prepared bytes; POST parses a form, stores one row at
synchronous=FULL (waiting rows are committed as a group) and signs one ES256 token.
"""

import asyncio
import json
import queue
import sqlite3
import sys
import threading
import time
from typing import Any
from urllib.parse import parse_qs

import uvicorn
from joserfc import jwt
from joserfc.jwk import ECKey

_KEY = ECKey.generate_key("P-256", private=True)
_READY = b'{"issuer": "http://localhost"}' + b" " * 1_400
_HEAD = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]


class Writer:
    """One thread that commits waiting rows as a group."""

    def __init__(self, database: str) -> None:
        self._waiting: queue.SimpleQueue[tuple[str, asyncio.Future[None], asyncio.AbstractEventLoop]] = (
            queue.SimpleQueue()
        )
        self._database = database
        threading.Thread(target=self._serve, daemon=True).start()

    def keep(self, text: str) -> "asyncio.Future[None]":
        """Queues a row; the future resolves once it is on disk."""
        loop = asyncio.get_running_loop()
        kept: asyncio.Future[None] = loop.create_future()
        self._waiting.put((text, kept, loop))
        return kept

    def _serve(self) -> None:
        connection = sqlite3.connect(self._database, isolation_level=None)
        for statement in (
            "PRAGMA journal_mode=WAL",
            "PRAGMA synchronous=FULL",
            "CREATE TABLE IF NOT EXISTS kept (text)",
        ):
            connection.execute(statement)
        while True:
            group = [self._waiting.get()]
            while not self._waiting.empty():
                group.append(self._waiting.get())
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO kept VALUES (?)", [(text,) for text, _, _ in group])
            connection.execute("COMMIT")
            group[0][2].call_soon_threadsafe(_settle, [kept for _, kept, _ in group])


def _settle(kept: "list[asyncio.Future[None]]") -> None:
    for one in kept:
        one.set_result(None)


def application(writer: Writer) -> Any:
    """The ASGI application."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = _READY
        if scope["method"] == "POST":
            form = parse_qs((await receive())["body"].decode())
            await writer.keep(form["refresh_token"][0])
            claims = {"iss": "http://localhost", "sub": "somebody", "exp": int(time.time()) + 900}
            body = json.dumps({"access_token": jwt.encode({"alg": "ES256"}, claims, _KEY)}).encode()
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [*_HEAD, length]})
        await send({"type": "http.response.body", "body": body})

    return app


if __name__ == "__main__":
    uvicorn.run(
        application(Writer(sys.argv[2])),
        port=int(sys.argv[1]),
        log_level="warning",
        access_log=False,
        lifespan="off",
        loop="uvloop",
        http="httptools",
    )
