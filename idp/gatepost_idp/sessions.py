"""Cookies and CSRF tokens: the browser cookie, the session cookie, and the check that a form is our own."""

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
    """The two cookies of this server. Their names contain a digest of the issuer: cookies are not isolated by port."""

    def __init__(self, settings: Settings) -> None:
        self._secure = not settings.oauth_issuer.startswith("http:")
        mark = hashlib.sha256(settings.oauth_issuer.encode()).hexdigest()[:8]
        prefix = "__Host-" if self._secure else ""
        self._browser_name = f"{prefix}gp-browser-{mark}"
        self._session_name = f"{prefix}gp-session-{mark}"
        self._browser = settings.secret_keys.serializer("browser cookie")
        self._csrf = settings.secret_keys.serializer("csrf")
        self.origin = "{0.scheme}://{0.netloc}".format(urlsplit(settings.oauth_issuer)).lower()
        """The Origin of our own forms."""

    def browser(self, cookies: Mapping[str, str]) -> str | None:
        """The browser's id; None if the cookie is missing, forged or older than 30 minutes."""
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
        """The hash under which this browser's session is stored; None without a session cookie."""
        value = cookies.get(self._session_name, "")
        return crypto.token_hash(value) if value.startswith(SESSION_PREFIX) else None

    def session_header(self, session: str) -> str:
        """The Set-Cookie value of a fresh session."""
        return self._header(self._session_name, session, SESSION_LIFE)

    def ended_session_header(self) -> str:
        """The Set-Cookie value that deletes the session cookie."""
        return self._header(self._session_name, "", timedelta(0))

    def csrf(self, browser: str) -> str:
        """A CSRF token, bound to this browser."""
        return str(self._csrf.dumps(browser))

    def is_own_form(self, token: str, browser: str | None, origin: str | None, fetch_site: str | None) -> bool:
        """Whether a POST comes from our own page in this browser: token, Origin and Sec-Fetch-Site must all agree.

        Origin ``null`` is refused; without an Origin (very old browsers) the token decides.
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
    """A new session cookie's value."""
    return crypto.opaque_token(SESSION_PREFIX)


def session_expiry(now: datetime) -> datetime:
    """When a session that starts at ``now`` expires."""
    return now + SESSION_LIFE
