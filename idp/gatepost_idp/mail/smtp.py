"""Delivers a mail to the SMTP server over implicit TLS, STARTTLS or plain text, and classifies the outcome."""

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from email.message import Message
from typing import Literal, cast

import aiosmtplib
from aiosmtplib.errors import SMTPDataError, SMTPException, SMTPRecipientsRefused, SMTPResponseException

from gatepost_idp.settings import Settings

DELIVERY_SECONDS = 30
GOODBYE_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Delivery:
    """The outcome of a delivery, and the server's ``answer``, redacted.

    ``later`` and ``refused`` concern this mail; ``unreachable`` is a temporary problem of the server; with
    ``misconfigured`` no mail can be sent until the operator fixes a setting. ``no_mailbox``: the recipient itself was
    refused permanently, before the server saw any content, which strangers can influence.
    """

    outcome: Literal["accepted", "later", "refused", "unreachable", "misconfigured"]
    answer: str
    no_mailbox: bool = False


async def deliver(settings: Settings, tls: ssl.SSLContext, message: Message, recipient: str) -> Delivery:
    """Sends one mail on one connection, within 30 seconds. Never raises for anything that a mail server does."""

    async def send(client: aiosmtplib.SMTP) -> str:
        _, answer = await client.send_message(message, sender=settings.mail_from, recipients=[recipient])
        return answer

    return await _connected(settings, tls, send)


async def probe(settings: Settings, tls: ssl.SSLContext) -> Delivery:
    """Connects and logs in as for a mail, but sends none."""

    async def ask(client: aiosmtplib.SMTP) -> str:
        return (await client.noop()).message

    return await _connected(settings, tls, ask)


async def _connected(
    settings: Settings, tls: ssl.SSLContext, talk: Callable[[aiosmtplib.SMTP], Awaitable[str]]
) -> Delivery:
    client = _client(settings, tls)
    with ExitStack() as hang_up:
        hang_up.callback(lambda: _hang_up(client.transport))
        try:
            async with asyncio.timeout(DELIVERY_SECONDS):
                await client.connect()
                if settings.smtp_username:  # not by ``connect``, which would leave a TLS connection half closed
                    await client.login(settings.smtp_username, settings.smtp_password)
                answer = await talk(client)
        except (SMTPException, OSError, TimeoutError) as problem:
            return _failed(problem)
        hang_up.pop_all()
    goodbye = asyncio.create_task(_say_goodbye(client))
    _goodbyes.add(goodbye)
    goodbye.add_done_callback(_goodbyes.discard)
    return Delivery("accepted", redacted(answer))


async def _say_goodbye(client: aiosmtplib.SMTP) -> None:
    """Sends QUIT, in the background: the server has accepted the mail, so nothing that follows matters."""
    transport = client.transport  # ``quit`` forgets it
    try:
        with suppress(SMTPException, OSError, TimeoutError):
            async with asyncio.timeout(GOODBYE_SECONDS):
                await client.quit()
    finally:  # this process may stop before the mail server answers
        _hang_up(transport)


def _hang_up(transport: asyncio.BaseTransport | None) -> None:
    """Closes without waiting for the other side's end of TLS: the loop of a command may be over before it comes."""
    if transport is not None:
        cast(asyncio.WriteTransport, transport).abort()


_goodbyes: set[asyncio.Task[None]] = set()
"""Keeps references, so that the tasks are not garbage-collected before they end."""


def _failed(problem: Exception) -> Delivery:
    """Classifies a failure: due to the recipient, the content, the server, or a setting."""
    if isinstance(problem, SMTPRecipientsRefused):
        refused = problem.recipients[0]
        return replace(_answered(refused.code, refused.message), no_mailbox=refused.code >= 500)
    if isinstance(problem, SMTPDataError):
        return _answered(problem.code, problem.message)
    if isinstance(problem, SMTPResponseException):  # greeting, STARTTLS, AUTH, MAIL FROM: not due to this recipient
        answer = redacted(f"{problem.code} {problem.message}")
        return Delivery("misconfigured" if problem.code >= 500 else "unreachable", answer)
    return Delivery("misconfigured" if _is_about_tls(problem) else "unreachable", _said(problem))


def _client(settings: Settings, tls: ssl.SSLContext) -> aiosmtplib.SMTP:
    return aiosmtplib.SMTP(
        hostname=settings.smtp_host,
        port=settings.smtp_port,
        # Both are explicit: the default would send the password in clear text if the server lacks STARTTLS.
        use_tls=settings.smtp_security == "implicit",
        start_tls=settings.smtp_security == "starttls",
        tls_context=tls,
        timeout=DELIVERY_SECONDS,
    )


def _is_about_tls(problem: BaseException) -> bool:
    """Whether a certificate did not verify, or STARTTLS was required and not offered; no password was sent then."""
    return any(isinstance(p, ssl.SSLError) for p in (problem, problem.__cause__)) or "STARTTLS" in str(problem)


def _answered(code: int, message: str) -> Delivery:
    return Delivery("refused" if code >= 500 else "later", redacted(f"{code} {message}"))


def _said(problem: BaseException) -> str:
    return redacted(f"{type(problem).__name__}: {problem}")


def redacted(answer: str) -> str:
    """A server's answer for the log, without the local parts of mail addresses."""
    return re.sub(r"[^\s<>@]+@", "...@", answer)
