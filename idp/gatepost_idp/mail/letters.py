"""Renders mails from their folders in ``emails/``; an attempt always gives the same link and code."""

from datetime import datetime
from email.charset import QP, Charset
from email.header import Header
from email.message import Message
from email.mime.base import MIMEBase
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.utils import format_datetime, formataddr
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gatepost_idp import assets, crypto, tokens
from gatepost_idp.catalogue import Catalogue
from gatepost_idp.pages import asker
from gatepost_idp.settings import Settings
from gatepost_idp.store.outbox import News, Occasion

_QUOTED_UTF8 = Charset("utf-8")
_QUOTED_UTF8.body_encoding = QP


class Letters:
    """Renders the mails that this server sends."""

    def __init__(self, settings: Settings, catalogue: Catalogue) -> None:
        self._settings = settings
        self._catalogue = catalogue
        loader = FileSystemLoader(assets.folder("emails"))
        self._html = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, auto_reload=False)
        self._text = Environment(loader=loader, autoescape=False, undefined=StrictUndefined, auto_reload=False)  # noqa: S701 (plain text)

    def prepare(self) -> None:
        """Compiles every template, which takes 40 ms, so that this never blocks the event loop later."""
        for name in self._text.list_templates():
            (self._html if name.endswith(".html") else self._text).get_template(name)

    def message_id(self) -> str:
        """A new Message-ID on this server's domain (RFC 5322 section 3.6.4); retries of a mail reuse it."""
        return self._message_id(crypto.random_id())

    def _message_id(self, unique: str) -> str:
        domain = self._settings.mail_from.rpartition("@")[2] or urlsplit(self._settings.oauth_issuer).hostname
        return f"<{unique}@{domain}>"

    def sign_in(self, occasion: Occasion, recipient: str, message_id: str, now: datetime) -> Message:
        """The sign-in mail: link and code, the client and resource, the browser and network; the text part first."""
        return self._in_two_forms("sign_in", self._context(occasion), recipient, message_id, now)

    def connected(self, news: News, letter_id: str, now: datetime) -> Message:
        """The mail about a new connection: client, browser, network, time, scopes, and a link that ends it."""
        settings, catalogue = self._settings, self._catalogue
        token = tokens.cut_off_token(settings.secret_keys, news.grant_id)
        context: dict[str, object] = {
            "service_name": settings.service_name,
            "support_email": settings.support_email,
            "issuer_host": urlsplit(settings.oauth_issuer).netloc,
            "asker": asker(news.client_id, news.client_name, news.redirect_uri, catalogue.name_of(news.resource)),
            "scopes": catalogue.titles(news.resource, news.scope),
            "email": news.email,
            "browser": news.browser,
            "network": news.network,
            "connected_at": f"{news.created_at:%d %B %Y, %H:%M} UTC",
            "link": f"{settings.oauth_issuer}/account/cut-off?t={token}",
            "account": f"{settings.oauth_issuer}/account",
        }
        return self._in_two_forms("connected", context, news.email, self._message_id(letter_id), now)

    def _in_two_forms(
        self, folder: str, context: dict[str, object], recipient: str, message_id: str, now: datetime
    ) -> Message:
        html = MIMEText(self._html.get_template(f"{folder}/body.html").render(context), "html", _QUOTED_UTF8)  # type: ignore[arg-type]  # takes a Charset, as its documentation says
        both = MIMEMultipart("alternative", None, [self._text_part(folder, context), html])
        return self._headed(folder, context, both, recipient, message_id, now)

    def test(self, recipient: str, now: datetime) -> Message:
        """The mail of ``gatepost mail test``."""
        context: dict[str, object] = {
            "service_name": self._settings.service_name,
            "issuer": self._settings.oauth_issuer,
        }
        return self._headed("test", context, self._text_part("test", context), recipient, self.message_id(), now)

    def _text_part(self, folder: str, context: dict[str, object]) -> MIMEText:
        """7bit, or base64 if not ASCII; never quoted-printable, which would break the link in the raw source."""
        text = self._text.get_template(f"{folder}/body.txt").render(context)
        return MIMEText(text, "plain", "us-ascii" if text.isascii() else "utf-8")

    def _headed(
        self, folder: str, context: dict[str, object], message: MIMEBase, recipient: str, message_id: str, now: datetime
    ) -> Message:
        """Adds the headers. The legacy email classes take a fifth of the time of the new ones (measured)."""
        subject = _header_text(self._text.get_template(f"{folder}/subject.txt").render(context))
        message["From"] = formataddr((_header_text(self._settings.service_name), self._settings.mail_from))
        message["To"] = recipient
        message["Subject"] = subject if subject.isascii() else Header(subject, "utf-8").encode()
        message["Date"] = format_datetime(now)
        message["Message-ID"] = message_id
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834
        message["X-Auto-Response-Suppress"] = "All"
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
            "asker": asker(
                occasion.client_id, occasion.client_name, occasion.redirect_uri, resource.name if resource else ""
            ),
            "browser": attempt.browser,
            "network": attempt.network,
            "asked_at": f"{attempt.created_at:%d %B %Y, %H:%M} UTC",
        }


def _header_text(text: str) -> str:
    """``text`` in one line, without the characters that are special in an address header."""
    return "".join(c for c in " ".join(text.split()) if c not in '<>",;:@()[]\\')
