"""Renders the sign-in mail from its folder in ``emails/``; the same attempt always gives the same mail."""

from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gatepost_idp import assets, crypto, tokens
from gatepost_idp.catalogue import Catalogue
from gatepost_idp.pages import asker
from gatepost_idp.settings import Settings
from gatepost_idp.store.outbox import Occasion


class Letters:
    """The mails that this server writes."""

    def __init__(self, settings: Settings, catalogue: Catalogue) -> None:
        self._settings = settings
        self._catalogue = catalogue
        loader = FileSystemLoader(assets.folder("emails"))
        self._html = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
        self._text = Environment(loader=loader, autoescape=False, undefined=StrictUndefined)  # noqa: S701 (plain text)

    def message_id(self) -> str:
        """A fresh Message-ID on our own domain (RFC 5322 section 3.6.4); a repeat of a mail keeps the first one's."""
        domain = self._settings.mail_from.rpartition("@")[2] or urlsplit(self._settings.oauth_issuer).hostname
        return f"<{crypto.random_id()}@{domain}>"

    def sign_in(self, occasion: Occasion, recipient: str, message_id: str, now: datetime) -> EmailMessage:
        """Link and code, who asks for what, from where."""
        context = self._context(occasion)
        message = self._message("sign_in", context, recipient, message_id, now)
        message.add_alternative(self._html.get_template("sign_in/body.html").render(context), subtype="html")
        return message

    def test(self, recipient: str, now: datetime) -> EmailMessage:
        """The mail of ``gatepost mail test``."""
        context: dict[str, object] = {
            "service_name": self._settings.service_name,
            "issuer": self._settings.oauth_issuer,
        }
        return self._message("test", context, recipient, self.message_id(), now)

    def _message(
        self, folder: str, context: dict[str, object], recipient: str, message_id: str, now: datetime
    ) -> EmailMessage:
        """Headers and the text part, which comes first."""
        message = EmailMessage()
        message["From"] = f"{_header_text(self._settings.service_name)} <{self._settings.mail_from}>"
        message["To"] = recipient
        message["Subject"] = _header_text(self._text.get_template(f"{folder}/subject.txt").render(context))
        message["Date"] = format_datetime(now)
        message["Message-ID"] = message_id
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834
        message["X-Auto-Response-Suppress"] = "All"
        text = self._text.get_template(f"{folder}/body.txt").render(context)
        # Never quoted-printable, which would cut the link in two for programs that read the raw text.
        message.set_content(text, cte="7bit" if text.isascii() else "base64")
        return message

    def _context(self, occasion: Occasion) -> dict[str, object]:
        attempt, settings = occasion.attempt, self._settings
        code = tokens.sign_in_code(settings.secret_keys, attempt)
        resource = self._catalogue.find(occasion.resource)
        return {
            "service_name": settings.service_name,
            "support_email": settings.support_email,
            "issuer_host": urlsplit(settings.oauth_issuer).netloc,
            "code": f"{code[:4]} {code[4:]}",
            "link": f"{settings.oauth_issuer}/sign-in/link?t={tokens.link_token(settings.secret_keys, attempt)}",
            "minutes": settings.sign_in_minutes,
            "email": attempt.email,
            "reference": attempt.reference,
            "asker": asker(occasion.client_name, occasion.redirect_uri, resource.name if resource else ""),
            "browser": attempt.browser,
            "network": attempt.network,
            "asked_at": f"{attempt.created_at:%d %B %Y, %H:%M} UTC",
        }


def _header_text(text: str) -> str:
    """One line without the characters that mean something in an address header."""
    return "".join(c for c in " ".join(text.split()) if c not in '<>",;:@()[]\\')
