"""The browser behind a request: its cookies, label and network, and whether a form it sends is our own."""

from collections.abc import Callable
from functools import cached_property

from starlette.requests import Request
from starlette.responses import Response

from gatepost_idp import crypto
from gatepost_idp.errors import PageProblem
from gatepost_idp.limits import Callers
from gatepost_idp.sessions import Cookies

_BROWSERS = (("Edg", "Edge"), ("OPR", "Opera"), ("Firefox", "Firefox"), ("CriOS", "Chrome"), ("FxiOS", "Firefox"),
             ("Chrome", "Chrome"), ("Safari", "Safari"))  # fmt: skip  # first match wins: most claim to be several
_SYSTEMS = (("iPhone", "iPhone"), ("iPad", "iPad"), ("Android", "Android"), ("Windows", "Windows"),
            ("CrOS", "ChromeOS"), ("Mac OS X", "macOS"), ("Linux", "Linux"))  # fmt: skip  # first match wins


class Visitor:
    """A browser, its session and network. Its cookie is verified only when first needed: that costs as much as three
    queries, and an answer without a page does not need it."""

    def __init__(
        self, read_browser: Callable[[], str | None], session_hash: bytes | None, label: str, network: str
    ) -> None:
        self._read_browser = read_browser
        self.session_hash = session_hash
        self.label = label
        self.network = network

    @cached_property
    def browser(self) -> str | None:
        """The browser cookie's value; None if it is missing, forged or expired."""
        return self._read_browser()

    @property
    def browser_hash(self) -> bytes:
        """The digest to which requests and attempts are bound; empty, which matches none, without a cookie."""
        return crypto.token_hash(self.browser) if self.browser else b""


class Visitors:
    """Reads visitors from requests, checks their forms, and writes their cookies."""

    def __init__(self, cookies: Cookies, callers: Callers) -> None:
        self.cookies = cookies
        self._callers = callers

    def of(self, request: Request) -> Visitor:
        """The visitor of a request."""
        return self._of(request, lambda: self.cookies.browser(request.cookies))

    def welcome(self, request: Request) -> Visitor:
        """The visitor of a request, with a new browser id if it has no cookie; pass it to ``keep``."""
        return self._of(request, lambda: self.cookies.browser(request.cookies) or crypto.random_id(24))

    def _of(self, request: Request, read_browser: Callable[[], str | None]) -> Visitor:
        return Visitor(
            read_browser,
            session_hash=self.cookies.session_hash(request.cookies),
            label=browser_label(request.headers.get("user-agent", "")),
            network=self._callers.network(request),
        )

    def of_own_form(self, request: Request, csrf: str) -> Visitor:
        """The visitor of a POST; raises PageProblem (403) unless the form is our own."""
        visitor = self.of(request)
        headers = request.headers
        own = self.cookies.is_own_form(csrf, visitor.browser, headers.get("origin"), headers.get("sec-fetch-site"))
        if not own:
            raise PageProblem(
                "This form has expired, or came from elsewhere",
                "Nothing was done with it.",
                "Either your browser is not keeping cookies for this site, or the page was open for too long.",
                "Go back to your app and connect again.",
                hint="Behind a proxy, OAUTH_ISSUER must be the address in the browser's address bar.",
                status=403,
                reason="foreign form",
                received=f"Origin: {headers.get('origin', 'none')[:100]}" + ("" if visitor.browser else ", no cookie"),
                expected=f"a form from {self.cookies.origin}, sent with the browser's cookie",
                event="refused.foreign_form",
            )
        return visitor

    def csrf(self, visitor: Visitor) -> str:
        """The CSRF token for this visitor's forms."""
        return self.cookies.csrf(visitor.browser or "")

    def keep(self, response: Response, visitor: Visitor) -> Response:
        """Sets the browser cookie on ``response``, for another 30 minutes."""
        if visitor.browser:
            response.headers.append("set-cookie", self.cookies.browser_header(visitor.browser))
        return response


def browser_label(user_agent: str) -> str:
    """A label for mails and the account page, such as ``Firefox on Linux``."""
    browser = next((name for mark, name in _BROWSERS if mark in user_agent), "A browser")
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), "")
    return f"{browser} on {system}" if system else browser
