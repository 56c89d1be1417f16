"""Checks the mail server: connects, negotiates TLS and logs in as for a mail, but sends none."""

import ssl

from gatepost_idp.mail.smtp import Delivery, probe
from gatepost_idp.operate.doctor.finding import Check, Fault, Finding
from gatepost_idp.operate.doctor.inside.installation import Installation
from gatepost_idp.settings import Settings

SMTP_UNSET = Fault(
    "smtp-unset",
    "The page says “Check your mail”, but no mail comes.",
    "a mail server",
    "SMTP_HOST",
    "SMTP_HOST=smtp.example.com",
)
SMTP_OF_THE_DEMO = Fault(
    "smtp-of-the-demo",
    "Mail arrives on the demo's mailbox page, nowhere else.",
    "SMTP_HOST, unless `gatepost demo` runs, which has its own mailbox",
    "SMTP_HOST",
    "SMTP_HOST=smtp.example.com",
    "information",
)
SMTP_UNREACHABLE = Fault(
    "smtp-unreachable",
    "The page says that the mail is delayed.",
    "a mail server that answers; many hosts block ports 25 and 465; 587 is usually open",
    "SMTP_HOST and SMTP_PORT",
    "SMTP_HOST=smtp.example.com SMTP_PORT=587",
)
SMTP_SECURITY = Fault(
    "smtp-security",
    "The page says that the mail is delayed, from the first mail on.",
    "TLS as the mail server speaks it",
    "SMTP_SECURITY",
    "SMTP_SECURITY=starttls with SMTP_PORT=587, or SMTP_SECURITY=implicit with SMTP_PORT=465",
)
SMTP_CERTIFICATE = Fault(
    "smtp-certificate",
    "The page says that the mail is delayed, from the first mail on.",
    "a certificate for the name in SMTP_HOST, from an authority that this machine trusts",
    "SMTP_HOST",
    "the name in the mail server's certificate; for a private authority set SSL_CERT_FILE",
)
SMTP_SIGN_IN = Fault(
    "smtp-sign-in",
    "The page says that the mail is delayed, from the first mail on.",
    "a user name and a password that the mail server accepts",
    "SMTP_USERNAME and SMTP_PASSWORD",
    "SMTP_USERNAME=gatepost@example.com SMTP_PASSWORD_FILE=/run/secrets/smtp_password",
)


async def _smtp(installation: Installation) -> list[Finding]:
    settings = installation.settings
    if not settings.smtp_host:
        fault = SMTP_OF_THE_DEMO if settings.is_local else SMTP_UNSET
        return [fault.seen("SMTP_HOST is not set")]
    delivery = await probe(settings, ssl.create_default_context())
    if delivery.outcome == "accepted":
        return []
    return [_fault(delivery).seen(f"{_asked(settings)}: {delivery.answer}")]


def _fault(delivery: Delivery) -> Fault:
    if "certificate" in delivery.answer.lower():
        return SMTP_CERTIFICATE
    if "STARTTLS" in delivery.answer or "SSL" in delivery.answer:
        return SMTP_SECURITY
    if delivery.outcome == "misconfigured":  # a reply of 500 or above, before any recipient was named
        return SMTP_SIGN_IN
    return SMTP_UNREACHABLE


def _asked(settings: Settings) -> str:
    return f"{settings.smtp_host}:{settings.smtp_port} ({settings.smtp_security})"


SMTP = Check(
    "smtp",
    "Mail server",
    _smtp,
    (SMTP_UNSET, SMTP_OF_THE_DEMO, SMTP_UNREACHABLE, SMTP_SECURITY, SMTP_CERTIFICATE, SMTP_SIGN_IN),
    ("settings",),
)
