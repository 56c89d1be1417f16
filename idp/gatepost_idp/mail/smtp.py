"""Hands a mail to the SMTP server, in one of three modes that are each spelled out, and tells what came of it."""

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from email.message import Message
from typing import Literal

import aiosmtplib
from aiosmtplib.errors import SMTPDataError, SMTPException, SMTPRecipientsRefused, SMTPResponseException

from gatepost_idp.settings import Settings

DELIVERY_SECONDS = 30
GOODBYE_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the server said.

    ``later`` and ``refused`` are about this mail; ``unreachable`` is about the server and passes by itself; with
    ``misconfigured`` no mail can go out until the operator mends a setting. ``no_mailbox``: it was the recipient that
    was refused for good, before the server saw what strangers can put into a mail.
    """

    outcome: Literal["accepted", "later", "refused", "unreachable", "misconfigured"]
    answer: str
    no_mailbox: bool = False


async def deliver(settings: Settings, tls: ssl.SSLContext, message: Message, recipient: str) -> Delivery:
    """One connection, one mail, 30 seconds. Never raises for what a mail server can do."""

    async def send(client: aiosmtplib.SMTP) -> str:
        _, answer = await client.send_message(message, sender=settings.mail_from, recipients=[recipient])
        return answer

    return await _connected(settings, tls, send)


async def probe(settings: Settings, tls: ssl.SSLContext) -> Delivery:
    """Connects and signs in as for a mail, and sends none."""

    async def ask(client: aiosmtplib.SMTP) -> str:
        return (await client.noop()).message

    return await _connected(settings, tls, ask)


async def _connected(
    settings: Settings, tls: ssl.SSLContext, talk: Callable[[aiosmtplib.SMTP], Awaitable[str]]
) -> Delivery:
    client = _client(settings, tls)
    with ExitStack() as hang_up:
        hang_up.callback(client.close)
        try:
            async with asyncio.timeout(DELIVERY_SECONDS):
                await client.connect()
                answer = await talk(client)
        except (SMTPException, OSError, TimeoutError) as problem:
            return _failed(problem)
        hang_up.pop_all()
    goodbye = asyncio.create_task(_say_goodbye(client))
    _goodbyes.add(goodbye)
    goodbye.add_done_callback(_goodbyes.discard)
    return Delivery("accepted", redacted(answer))


async def _say_goodbye(client: aiosmtplib.SMTP) -> None:
    """QUIT, for politeness and beside the rest: the server has the mail, so whatever comes now changes nothing."""
    try:
        with suppress(SMTPException, OSError, TimeoutError):
            async with asyncio.timeout(GOODBYE_SECONDS):
                await client.quit()
    finally:  # the server may stop before the mail server has answered
        client.close()


_goodbyes: set[asyncio.Task[None]] = set()
"""Keeps the tasks from being collected before they end."""


def _failed(problem: Exception) -> Delivery:
    """Whose doing it was: the recipient's address, the mail's content, the server's state, or a setting."""
    if isinstance(problem, SMTPRecipientsRefused):
        refused = problem.recipients[0]
        return replace(_answered(refused.code, refused.message), no_mailbox=refused.code >= 500)
    if isinstance(problem, SMTPDataError):
        return _answered(problem.code, problem.message)
    if isinstance(problem, SMTPResponseException):  # greeting, STARTTLS, AUTH, MAIL FROM: not this recipient's doing
        answer = redacted(f"{problem.code} {problem.message}")
        return Delivery("misconfigured" if problem.code >= 500 else "unreachable", answer)
    return Delivery("misconfigured" if _is_about_tls(problem) else "unreachable", _said(problem))


def _client(settings: Settings, tls: ssl.SSLContext) -> aiosmtplib.SMTP:
    return aiosmtplib.SMTP(
        hostname=settings.smtp_host,
        port=settings.smtp_port,
        username=settings.smtp_username or None,
        password=settings.smtp_password or None,
        # Both are said outright: the default would send the password in clear where STARTTLS is missing.
        use_tls=settings.smtp_security == "implicit",
        start_tls=settings.smtp_security == "starttls",
        tls_context=tls,
        timeout=DELIVERY_SECONDS,
    )


def _is_about_tls(problem: BaseException) -> bool:
    """A certificate that does not verify, or STARTTLS asked for and not offered: the password stays here."""
    return any(isinstance(p, ssl.SSLError) for p in (problem, problem.__cause__)) or "STARTTLS" in str(problem)


def _answered(code: int, message: str) -> Delivery:
    return Delivery("refused" if code >= 500 else "later", redacted(f"{code} {message}"))


def _said(problem: BaseException) -> str:
    return redacted(f"{type(problem).__name__}: {problem}")


def redacted(answer: str) -> str:
    """A server's answer without the local part of an address, since it goes into the log."""
    return re.sub(r"[^\s<>@]+@", "...@", answer)
