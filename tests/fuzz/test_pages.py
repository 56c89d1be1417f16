"""Sequences of pages and forms in any order, with ids, tokens and cookies of another time or another browser."""

import re
import time
from dataclasses import dataclass, field
from html import unescape
from itertools import count
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.fuzz.doors import IDP, Door
from tests.fuzz.grammar import FORM, LOOSE, Bend, Known, bends
from tests.fuzz.running import VERIFIER, Target, run
from tests.support.line import Answer, Request
from tests.support.oauth import challenge_of
from tests.support.person import Form, forms_of
from tests.support.smtp import code_of, link_of

PAGES = tuple(door for door in IDP if door.kind in ("page", "script") and door.path.count("/") > 1)
STEPS = 9
ROAD = 8
"""The number of requests from /authorize to the end."""
BROWSERS = 3
_addresses = count()


@dataclass(frozen=True)
class Step:
    """One request: what a browser would do next on its page, or, with a ``door``, something else.

    The numbers choose among what exists at that moment, counted from the newest. ``changed``: fields with wrong values.
    """

    browser: int
    door: Door | None
    pick: int
    borrowed: tuple[int, int, int]
    changed: dict[str, bytes]
    decision: bytes
    bend: Bend


def walks(known: Known) -> SearchStrategy[list[Step]]:
    """Part of the normal flow, and then other steps, half of them a person's."""
    fields = sorted({name for door in PAGES for name in (*door.form, *door.query)} - {"csrf"})
    step = st.builds(
        Step,
        browser=st.sampled_from([0, 0, 0, 1, 2]),
        door=st.none() | st.sampled_from(PAGES),
        pick=st.integers(0, 3),
        borrowed=st.tuples(*[st.sampled_from([0, 0, 0, 1, 2])] * 3),
        changed=st.just({}) | st.dictionaries(st.sampled_from(fields), LOOSE, max_size=2),
        decision=st.sampled_from([b"allow", b"allow", b"deny"]),
        bend=st.one_of(*[st.just(_straight)] * 6, bends(known)),
    )
    ahead = st.integers(0, ROAD).map(lambda far: [NEXT] * far)
    return st.builds(lambda before, after: before + after, ahead, st.lists(step, min_size=2, max_size=STEPS))


def _straight(request: Request) -> Request:
    return request


NEXT = Step(0, None, 1, (0, 0, 0), {}, b"allow", _straight)
"""What a person in the first browser would do."""


@dataclass
class Window:
    """A browser: its cookies, its page, and the address typed in it."""

    email: str
    cookies: dict[str, str] = field(default_factory=dict)
    page: Answer = field(default_factory=lambda: Answer(0))


@dataclass
class Found:
    """The ids and tokens that all browsers found, newest first."""

    requests: list[str] = field(default_factory=lambda: ["x"])
    attempts: list[str] = field(default_factory=lambda: ["x"])
    csrf: list[str] = field(default_factory=lambda: ["x"])
    tokens: list[str] = field(default_factory=lambda: ["x"])


class Walk:
    """Takes the steps, one request each, and lets the judge see every answer."""

    def __init__(self, target: Target, form_time: str) -> None:
        """``form_time``: that of a form shown a while ago, since forms sent at once are delayed."""
        self._target = target
        self._form_time = form_time
        self._windows = [Window(f"page-{next(_addresses)}@example.com") for _ in range(BROWSERS)]
        self._found = Found()

    def take(self, step: Step) -> None:
        """One request."""
        window = self._windows[step.browser]
        request = self._other(step, step.door, window) if step.door else self._next(step, window)
        headers = [(b"cookie", "; ".join(f"{n}={v}" for n, v in window.cookies.items()).encode())]
        if request.method == "POST":
            headers += [(b"content-type", FORM), (b"origin", self._target.deployment.issuer.encode())]
        request = step.bend(request.plus(*headers))
        answer = self._target.idp.send(request)
        self._target.idp_judge.check(request, answer)
        self._look(window, answer)

    def _next(self, step: Step, window: Window) -> Request:
        """Follows a link, sends a form of the page, or, if it has none, starts again."""
        location = window.page.get("location")
        if location.startswith("/"):
            return Request("GET", location.encode())
        forms = forms_of(window.page.body.decode()) if window.page.status in (200, 400) else []
        if not forms:
            return Request("GET", self._authorize())
        form = forms[step.pick % len(forms)] if step.pick > 1 else max(forms, key=_is_meant)
        names = [name for name, _ in (*form.fields, *form.buttons)]
        values = {name: quote(value).encode() for name, value in form.fields}
        values |= {name: self._value(step, window, name) for name in names if name not in ("csrf", "scope", "token")}
        return Request("POST", form.action.encode(), body=_encoded({**values, **step.changed}))

    def _other(self, step: Step, door: Door, window: Window) -> Request:
        """Another endpoint, with ids that may belong to another browser."""
        first, second, third = step.borrowed
        place = door.path.replace("{request_id}", _nth(self._found.requests, first))
        place = place.replace("{attempt_id}", _nth(self._found.attempts, second)).replace("{account_id}", "x")
        own = {
            "csrf": _nth(self._found.csrf, third),
            "token": _nth(self._found.tokens, first),
            "t": _nth(self._found.tokens, second),
        }
        values = {name: quote(value).encode() for name, value in own.items()}
        names = door.form or door.query
        wanted = {name: values.get(name) or self._value(step, window, name) for name in names}
        changed = {name: value for name, value in step.changed.items() if name in names}
        method = door.methods[step.pick % len(door.methods)]
        if method == "POST":
            return Request("POST", place.encode(), body=_encoded({**wanted, **changed}))
        if door.path == "/authorize":
            return Request("GET", self._authorize())
        query = urlencode({name: value.decode("latin-1") for name, value in {**wanted, **changed}.items()})
        return Request(method, f"{place}?{query}".encode())

    def _value(self, step: Step, window: Window, name: str) -> bytes:
        """What a person would type or press."""
        if name == "email":
            return quote(window.email).encode()
        if name == "code":
            return quote(self._code(window) if step.pick else "0000 0000").encode()
        given = {"decision": step.decision, "form_time": self._form_time.encode(), "remember": b"30", "website": b""}
        return given.get(name, b"")

    def _code(self, window: Window) -> str:
        mails = self._target.postbox.to(window.email)
        return code_of(mails[-1]) if mails else "1234 5678"

    def _authorize(self) -> bytes:
        known = self._target.known.values
        parameters = {
            "response_type": "code",
            "client_id": known["client_id"][0],
            "redirect_uri": known["redirect_uri"][0],
            "code_challenge": challenge_of(VERIFIER),
            "code_challenge_method": "S256",
            "scope": "demo:read demo:echo",
            "state": "s",
            "resource": self._target.deployment.mcp,
        }
        return f"/authorize?{urlencode(parameters)}".encode()

    def _look(self, window: Window, answer: Answer) -> None:
        """Keeps cookies, ids and tokens; waits for a mail that was requested."""
        window.page = answer
        for cookie in answer.all("set-cookie"):
            name, _, value = cookie.partition(";")[0].partition("=")
            window.cookies[name] = value
        text = answer.get("location") + answer.body.decode()
        for place in re.findall(r"/(?:sign-in|consent)/([\w-]{16,})", text):
            _newest(self._found.requests, place)
        for place in re.findall(r"/sign-in/[\w-]{16,}/([\w-]{16,})", text):
            _newest(self._found.attempts, place)
        for value in re.findall(r'name="csrf" value="([^"]*)"', text):
            _newest(self._found.csrf, unescape(value))
        if re.fullmatch(r"/sign-in/[\w-]{16,}/[\w-]{16,}", answer.get("location")):
            self._mail(window)

    def _mail(self, window: Window) -> None:
        if self._target.postbox.to(window.email):
            return
        mail = self._target.postbox.wait(window.email)
        _newest(self._found.tokens, parse_qs(urlsplit(link_of(mail)).query)["t"][0])


def _is_meant(form: Form) -> bool:
    """Whether it is the page's main form, and not a way out of it."""
    return bool(form.names() & {"email", "code", "token", "scope"}) or ("decision", "allow") in form.buttons


def _encoded(values: dict[str, bytes]) -> bytes:
    return b"&".join(name.encode() + b"=" + value for name, value in values.items())


def _nth(found: list[str], number: int) -> str:
    return found[min(number, len(found) - 1)]


def _newest(found: list[str], value: str) -> None:
    if value in found:
        found.remove(value)
    found.insert(0, value)


@pytest.fixture(scope="module")
def form_time(target: Target) -> str:
    """The time of a form that has been open for more than a second."""
    walk: Any = Walk(target, "")
    walk.take(NEXT)
    walk.take(NEXT)
    page = walk._windows[0].page.body.decode()
    time.sleep(1.1)
    return dict(forms_of(page)[0].fields)["form_time"]


@pytest.mark.clause("A3.no-open-redirect", "C5", "P4")
def test_forms_in_any_order(target: Target, form_time: str) -> None:
    """The answer is a page that says what to do, or a redirect to the next; never a 500 or another site."""

    def work(walk: list[Step]) -> None:
        taken = Walk(target, form_time)
        for step in walk:
            taken.take(step)

    with target.well():
        run(0.18 / STEPS, walks(target.known), work)
