"""Mail servers of every kind: with TLS and passwords, refusing, hanging up, dripping, and with an attacker between."""

import asyncio
import contextlib
import ssl
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import anyio.from_thread
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword, Session

from tests.support.smtp import Postbox

USERNAME = "gatepost@mail.test"
PASSWORD = "correct horse battery staple"


class Office(Postbox):
    """A mail server whose behaviour a test sets; it records every mail, kept or refused."""

    def __init__(self, password: str = "") -> None:
        super().__init__()
        self.password = password
        """The credentials that AUTH must have; empty if none are needed."""
        self.logins: list[bool] = []
        """Every AUTH tried, and whether it was right."""
        self.offered: list[EmailMessage] = []
        """Every mail whose content arrived, including the refused ones."""
        self.unknown: set[str] = set()
        """Addresses refused at RCPT."""
        self.drops: dict[str, int] = {}
        """How often the connection drops after a mail to that address, which is kept."""
        self.takes_seconds = 0.0
        """How long it waits before it answers each mail."""
        self.at: Callable[[str], None] = lambda _stage: None
        """Called at each stage: ``recipient``, ``content``, ``kept``."""

    def authenticate(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, login: Any) -> AuthResult:
        expected = LoginPassword(USERNAME.encode(), self.password.encode())
        self.logins.append(login == expected)
        return AuthResult(success=login == expected, handled=False)  # aiosmtpd then says 535

    async def handle_MAIL(  # noqa: N802 (aiosmtpd's name)
        self, _server: Any, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.password and not session.authenticated:
            return "530 5.7.0 Authentication required"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(  # noqa: N802 (aiosmtpd's name)
        self, _server: Any, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        self.at("recipient")
        if address in self.unknown:
            return f"550 5.1.1 <{address}> no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:  # noqa: N802 (aiosmtpd's name)
        self.at("content")
        message = message_from_bytes(bytes(envelope.original_content or b""), policy=policy.default)
        self.offered.append(message)
        await asyncio.sleep(self.takes_seconds)
        said = await super().handle_DATA(server, session, envelope)
        self.at("kept")
        address = str(message["To"])
        if self.drops.get(address, 0) > 0:
            self.drops[address] -= 1
            server.transport.abort()
        return said


@contextlib.contextmanager
def opened(office: Office, tls: ssl.SSLContext | None = None, *, implicit: bool = False) -> Iterator[Office]:
    """Runs the mail server until the block ends: with STARTTLS if ``tls`` is given, or TLS from the first byte."""
    controller = Controller(
        office,
        hostname="127.0.0.1",
        port=office.port,
        ssl_context=tls if implicit else None,
        tls_context=None if implicit else tls,
        require_starttls=tls is not None and not implicit,
        auth_require_tls=not implicit,  # aiosmtpd does not count TLS from the first byte as TLS
        authenticator=office.authenticate,
    )
    controller.start()
    try:
        yield office
    finally:
        controller.stop()


@dataclass
class Authority:
    """The tests' certificate authority. ``path``: its certificate, for SSL_CERT_FILE."""

    path: Path
    _ca: trustme.CA = field(default_factory=trustme.CA)

    def __post_init__(self) -> None:
        self._ca.cert_pem.write_to_path(self.path)

    def context(self, name: str = "127.0.0.1") -> ssl.SSLContext:
        """The TLS context of a server called ``name``."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._ca.issue_cert(name).configure_cert(context)
        return context


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.contextmanager
def listening_to(talk: Talk) -> Iterator[int]:
    """A server that runs ``talk`` for each connection, in its own thread; returns its port."""
    with (
        anyio.from_thread.start_blocking_portal() as portal,
        portal.wrap_async_context_manager(_listening(talk)) as port,
    ):
        yield port


@contextlib.asynccontextmanager
async def _listening(talk: Talk) -> AsyncIterator[int]:
    talks: set[asyncio.Task[Any]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talks.add(task)
        # The end of the test cancels the conversations; a caller who hangs up ends one.
        with contextlib.suppress(asyncio.CancelledError, asyncio.IncompleteReadError, OSError):
            await talk(reader, writer)
        talks.discard(task)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in list(talks):
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)


@dataclass
class Call:
    """One connection: when it began and ended, and every byte that the client sent, as sent."""

    began: float
    said: bytearray = field(default_factory=bytearray)
    ended: float | None = None
    dripping: bool = False


class Line:
    """An attacker between client and mail server: records everything, and may change the server's answers."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self.port = 0
        self.calls: list[Call] = []
        self.greeting: bytes | None = None
        """While set, sent instead of connecting; then the connection is closed."""
        self.bend: Callable[[bytes], bytes] = lambda answer: answer
        """Changes each answer of the server."""
        self.drips_for = b"nobody"
        """From the RCPT of that address on, the answer comes a byte at a time and never ends."""
        self.swallows: bytes | None = None
        """A command that is not passed to the server, so that its answer never comes."""
        self.changed = threading.Condition()

    def said(self) -> bytes:
        """Everything that clients sent."""
        return b"".join(bytes(call.said) for call in self.calls)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handles one connection from beginning to end."""
        call = Call(time.monotonic())
        self.calls.append(call)
        try:
            if self.greeting is not None:
                writer.write(self.greeting)
                await writer.drain()
                return
            await self._relay(call, reader, writer)
        finally:
            call.ended = time.monotonic()

    async def _relay(self, call: Call, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", self._office.port)
        answers = asyncio.create_task(self._answers(call, back, writer))
        try:
            while data := await reader.read(65536):
                call.said += data
                call.dripping = call.dripping or b"RCPT TO:<" + self.drips_for in data
                if self.swallows is None or not data.upper().startswith(self.swallows):
                    forth.write(data)
                    await forth.drain()
        finally:
            answers.cancel()
            await asyncio.gather(answers, return_exceptions=True)
            forth.close()

    async def _answers(self, call: Call, back: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await back.read(65536):
            if call.dripping:
                await _drip(writer)
            writer.write(self.bend(data))
            await writer.drain()
        writer.close()


async def _drip(writer: asyncio.StreamWriter) -> None:
    """Sends a slow reply that never ends: each byte shows life, but there is never an answer."""
    writer.write(b"250-")
    while not writer.is_closing():
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.05)


@contextlib.contextmanager
def tapped(office: Office) -> Iterator[Line]:
    """A tapped line to ``office``, until the block ends."""
    line = Line(office)
    with listening_to(line.talk) as port:
        line.port = port
        yield line
