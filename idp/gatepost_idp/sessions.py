"""Cookies and CSRF: which browser this is, who is signed in in it, and whether a form is our own."""

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from itsdangerous import BadData

from gatepost_idp import crypto
from gatepost_idp.settings import Settings

BROWSER_LIFE = timedelta(minutes=30)
SESSION_LIFE = timedelta(days=30)
FORM_LIFE = timedelta(hours=12)
SESSION_PREFIX = "gp_se_"


class Cookies:
    """The two cookies of this server. Their names carry a digest of the issuer, since ports keep no cookies apart."""

    def __init__(self, settings: Settings) -> None:
        self._secure = not settings.oauth_issuer.startswith("http:")
        mark = hashlib.sha256(settings.oauth_issuer.encode()).hexdigest()[:8]
        prefix = "__Host-" if self._secure else ""
        self._browser_name = f"{prefix}gp-browser-{mark}"
        self._session_name = f"{prefix}gp-session-{mark}"
        self._browser = settings.secret_keys.serializer("browser cookie")
        self._csrf = settings.secret_keys.serializer("csrf")
        self.origin = "{0.scheme}://{0.netloc}".format(urlsplit(settings.oauth_issuer)).lower()
        """Where our own forms come from."""

    def browser(self, cookies: Mapping[str, str]) -> str | None:
        """The browser's id, None where the cookie is missing, forged or older than 30 minutes."""
        signed = cookies.get(self._browser_name, "")
        try:
            value = self._browser.loads(signed, max_age=int(BROWSER_LIFE.total_seconds()))
        except BadData:
            return None
        return value if isinstance(value, str) else None

    def browser_header(self, browser: str) -> str:
        """The Set-Cookie value that keeps ``browser`` for 30 minutes more."""
        return self._header(self._browser_name, str(self._browser.dumps(browser)), BROWSER_LIFE)

    def session_hash(self, cookies: Mapping[str, str]) -> bytes | None:
        """The hash under which the session of this browser is stored."""
        value = cookies.get(self._session_name, "")
        return crypto.token_hash(value) if value.startswith(SESSION_PREFIX) else None

    def session_header(self, session: str) -> str:
        """The Set-Cookie value of a fresh session."""
        return self._header(self._session_name, session, SESSION_LIFE)

    def ended_session_header(self) -> str:
        """The Set-Cookie value that takes the session away."""
        return self._header(self._session_name, "", timedelta(0))

    def csrf(self, browser: str) -> str:
        """A token for the forms of this browser alone."""
        return str(self._csrf.dumps(browser))

    def is_own_form(self, token: str, browser: str | None, origin: str | None, fetch_site: str | None) -> bool:
        """Whether a POST comes from a page of ours in this browser: token, Origin and Sec-Fetch-Site must agree.

        An Origin of ``null`` is foreign; a missing one is left to the token (very old browsers).
        """
        if browser is None or (origin is not None and origin.lower() != self.origin):
            return False
        if fetch_site not in (None, "same-origin", "none"):
            return False
        try:
            return bool(self._csrf.loads(token, max_age=int(FORM_LIFE.total_seconds())) == browser)
        except BadData:
            return False

    def _header(self, name: str, value: str, life: timedelta) -> str:
        secure = "; Secure" if self._secure else ""
        return f"{name}={value}; Path=/; Max-Age={int(life.total_seconds())}; HttpOnly; SameSite=Lax{secure}"


def new_session() -> str:
    """A fresh session cookie."""
    return crypto.opaque_token(SESSION_PREFIX)


def session_expiry(now: datetime) -> datetime:
    """When a session that starts now ends at the latest."""
    return now + SESSION_LIFE
