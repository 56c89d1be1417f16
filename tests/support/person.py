"""A person with a browser that runs no scripts: it follows links, fills in forms and keeps cookies."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx2

from tests.support.smtp import Postbox, code_of, link_of


@dataclass
class Form:
    """A form on a page: its action, and its values before anybody types."""

    action: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    buttons: list[tuple[str, str]] = field(default_factory=list)

    def names(self) -> set[str]:
        """The names of its fields."""
        return {name for name, _ in self.fields}


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.links: list[str] = []
        self.target: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(found.get("action", "")))
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if "data-target" in found:
            self.target = found["data-target"]
        if not self.forms or tag not in ("input", "button"):
            return
        if tag == "button" and found.get("name"):
            self.forms[-1].buttons.append((found["name"], found.get("value", "")))
        unticked = found.get("type") in ("checkbox", "radio") and "checked" not in found
        if tag == "input" and found.get("name") and not unticked:
            self.forms[-1].fields.append((found["name"], found.get("value", "")))


def forms_of(html: str) -> list[Form]:
    """The forms of a page."""
    parsed = _Page()
    parsed.feed(html)
    return parsed.forms


def links_of(html: str) -> list[str]:
    """The targets of a page's links."""
    parsed = _Page()
    parsed.feed(html)
    return parsed.links


class Person:
    """One person in one browser."""

    def __init__(self, email: str, postbox: Postbox) -> None:
        self.email = email
        self.postbox = postbox
        self.browser = httpx2.Client(
            trust_env=False, verify=False, timeout=20, headers={"user-agent": "Mozilla/5.0 (X11; Linux) Firefox/150"}
        )
        self.page: httpx2.Response | None = None

    def __enter__(self) -> "Person":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the browser."""
        self.browser.close()

    def open(self, url: str) -> httpx2.Response:
        """Opens ``url`` and follows redirects that stay on the same server."""
        return self._follow(self.browser.get(url))

    def forms(self) -> list[Form]:
        """The forms of the page that is open."""
        return self._parsed().forms

    def form(self, field_name: str) -> Form:
        """The form with that field or button."""
        for form in self.forms():
            if field_name in form.names() or field_name in dict(form.buttons):
                return form
        raise AssertionError(f"no form with {field_name} in:\n{self.text}")

    def form_to(self, ending: str) -> Form:
        """The form whose action ends with that."""
        for form in self.forms():
            if form.action.endswith(ending):
                return form
        raise AssertionError(f"no form to {ending} in:\n{self.text}")

    def submit(self, form: Form, **changes: Any) -> httpx2.Response:
        """Sends a form as a browser does; a changed value of None leaves the field out, a list sends it repeatedly."""
        values: dict[str, Any] = {}
        for name, value in form.fields:
            values.setdefault(name, []).append(value)
        values |= changes
        data = {name: value for name, value in values.items() if value is not None}
        page = self._url
        headers = {"origin": f"{page.scheme}://{page.netloc}", "sec-fetch-site": "same-origin"}
        return self._follow(self.browser.post(urljoin(self._address, form.action), data=data, headers=headers))

    def ask_for_mail(self) -> None:
        """Types the address on the email page."""
        self.submit(self.form("email"), email=self.email)

    def sign_in_by_code(self, count: int = 1) -> None:
        """Types the mailed code on the waiting page."""
        self.submit(self.form("code"), code=code_of(self.postbox.wait(self.email, count)))

    def sign_in_by_link(self, count: int = 1) -> None:
        """Opens the mailed link in this browser and presses its one button."""
        self.open(link_of(self.postbox.wait(self.email, count)))
        self.submit(self.form("token"))

    def allow(self, **changes: Any) -> None:
        """Presses the button that consents, on either consent page."""
        self.submit(self.form("decision"), decision="allow", **changes)

    def answer(self) -> str:
        """The URL to which the finish page, or the redirect that ended the flow, sends the browser."""
        assert self.page is not None
        location = self.page.headers.get("location")
        target = location or self._parsed().target
        assert target, f"no answer on this page:\n{self.text}"
        return str(target)

    def walk(self, authorize_url: str) -> str:
        """From a client's authorize URL, through every page that asks, to its callback URL with the answer."""
        self.open(authorize_url)
        mails = len(self.postbox.to(self.email))
        if any("email" in form.names() for form in self.forms()):
            self.ask_for_mail()
            self.sign_in_by_code(mails + 1)
        if any(("decision", "allow") in form.buttons for form in self.forms()):
            self.allow()
        return self.answer()

    @property
    def text(self) -> str:
        """The page that is open."""
        assert self.page is not None
        return self.page.text

    @property
    def _address(self) -> str:
        assert self.page is not None
        return str(self.page.url)

    @property
    def _url(self) -> Any:
        return urlsplit(self._address)

    def _parsed(self) -> _Page:
        parsed = _Page()
        parsed.feed(self.text)
        return parsed

    def _follow(self, response: httpx2.Response) -> httpx2.Response:
        for _ in range(10):
            location = response.headers.get("location")
            if (
                location is None
                or urlsplit(urljoin(str(response.url), location)).netloc != response.url.netloc.decode()
            ):
                break
            response = self.browser.get(urljoin(str(response.url), location))
        self.page = response
        return response
