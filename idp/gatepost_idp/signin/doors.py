"""The pages below /sign-in: each route parses, calls one step of the sign-in, and answers."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from itsdangerous import BadData

from gatepost_idp import traces
from gatepost_idp.catalogue import Catalogue
from gatepost_idp.pages import Asker, Pages, asker
from gatepost_idp.sessions import FORM_LIFE
from gatepost_idp.settings import Settings
from gatepost_idp.signin import addresses
from gatepost_idp.signin.steps import Asking, Browser, SignedIn, SignIn, Waiting, WrongCode
from gatepost_idp.store.attempts import WRONG_CODES
from gatepost_idp.visitors import Visitor, Visitors

Field = Annotated[str, Form()]
QUICK_MS = 1000
SLOW_SECONDS = 0.3
_SAME_BROWSER = "the browser that started it, within 30 minutes"


class SignInPages:
    """The pages that the routes below /sign-in render."""

    def __init__(
        self, sign_in: SignIn, pages: Pages, visitors: Visitors, settings: Settings, catalogue: Catalogue
    ) -> None:
        self.sign_in = sign_in
        self.pages = pages
        self.visitors = visitors
        self.settings = settings
        self._catalogue = catalogue
        self._form_times = settings.secret_keys.serializer("form time")

    def asker(self, asking: Asking) -> Asker:
        """Which client asks, and for which resource, as the pages show it."""
        resource = self._catalogue.find(asking.request.resource)
        name = resource.name if resource else ""
        return asker(asking.client.id, asking.client.name, asking.request.redirect_uri, name)

    def url(self, path: str, **query: str) -> str:
        """``path`` below the issuer's path, with ``query``."""
        return f"{self.settings.root}{path}" + (f"?{urlencode(query)}" if query else "")

    def see(self, path: str) -> RedirectResponse:
        """Redirects (303) to ``path`` on this server."""
        return RedirectResponse(self.url(path), 303)

    def email_page(
        self, visitor: Visitor, asking: Asking, email: str = "", problem: str | None = None, wait: int = 0
    ) -> Response:
        """The page with the address field: 400 with a ``problem``, 429 with ``wait`` seconds."""
        place = f"/sign-in/{asking.request.id}"
        response = self.pages.response(
            "signin/email.html",
            status=400 if problem else 429 if wait else 200,
            asker=self.asker(asking),
            csrf=self.visitors.csrf(visitor),
            action=self.url(place),
            deny_action=self.url(f"{place}/deny"),
            email=email[:254],
            problem=problem,
            form_time=self._form_times.dumps(self.sign_in.milliseconds()),
            wait_seconds=wait,
        )
        return self.visitors.keep(response, visitor)

    async def slow_down(self, form_time: str) -> None:
        """Delays a form that was sent within a second of being shown: a robot, or a person's autofill."""
        try:
            shown_at = int(self._form_times.loads(form_time, max_age=int(FORM_LIFE.total_seconds())))
        except (BadData, ValueError, TypeError):
            shown_at = self.sign_in.milliseconds()
        if self.sign_in.milliseconds() - shown_at < QUICK_MS:
            await asyncio.sleep(SLOW_SECONDS)

    def waiting_page(self, visitor: Visitor, waiting: Waiting, problem: str | None = None) -> Response:
        """The page with the code field and the mail's progress."""
        attempt = waiting.attempt
        place = f"/sign-in/{attempt.request_id}/{attempt.id}"
        response = self.pages.response(
            "signin/wait.html",
            status=400 if problem else 200,
            asker=self.asker(waiting.asking),
            csrf=self.visitors.csrf(visitor),
            email=attempt.email,
            reference=attempt.reference,
            action=self.url(f"{place}/code"),
            resend_action=self.url(f"{place}/resend"),
            resend_in=self.sign_in.seconds_to_resend(attempt),
            change_action=self.url(f"{place}/change"),
            state_url=self.url(f"{place}/state"),
            continue_url=self.url(place),
            mail=waiting.mail,
            expires_in=self.sign_in.seconds_left(attempt),
            problem=problem,
            tries_left=max(0, WRONG_CODES - attempt.wrong_codes),
        )
        return self.visitors.keep(response, visitor)

    def ended_page(self, state: str, same_browser: bool, request_id: str = "", email: str = "") -> Response:
        """The page for a link or attempt that is used, expired, cancelled, locked or unknown, with the way on."""
        if state != "used":
            traces.current().refuse(f"the sign-in is {state}", "", "the newest mail, before it expires")
        return self.pages.response(
            "signin/ended.html",
            status=200 if state in ("used", "already_signed_in") else 410,
            state=state,
            same_browser=same_browser,
            restart_url=self.url(f"/sign-in/{request_id}") if request_id and same_browser else "",
            continue_url=self.url(f"/consent/{request_id}") if request_id and same_browser else "",
            email=email if same_browser else "",
        )

    def signed_in(self, result: SignedIn, asking: Asking | None) -> Response:
        """Sets the session cookie and redirects to consent, or says that the waiting tab will go on by itself."""
        traces.current().belongs_to(traces.id_of(result.request_id))
        traces.current().tell(next="signed in")
        on = f"/consent/{result.request_id}"
        response: Response = self.see(on)
        if result.tab_alive and asking is not None:
            response = self.pages.response(
                "signin/signed_in.html",
                asker=self.asker(asking),
                continue_url=self.url(on),
            )
        response.headers.append("set-cookie", self.visitors.cookies.session_header(result.session))
        return response


def browser_of(visitor: Visitor) -> Browser:
    """The visitor as the steps of the sign-in see it."""
    return Browser(visitor.browser_hash, visitor.session_hash, visitor.label, visitor.network)


Door = Callable[..., Any]


def router(own: SignInPages, brake: Callable[[Door], Door]) -> APIRouter:
    """The routes below /sign-in; ``brake`` limits the forms that cost a mail or a guess at a code."""
    doors = APIRouter(prefix="/sign-in", include_in_schema=False)
    _link_doors(doors, own)
    _link_forms(doors, own)
    _email_doors(doors, own)
    _email_form(doors, own, brake)
    _waiting_doors(doors, own)
    _waiting_forms(doors, own, brake)
    return doors


def _email_doors(doors: APIRouter, own: SignInPages) -> None:
    @doors.get("/{request_id}")
    async def show_email(request: Request, request_id: str) -> Response:
        visitor = own.visitors.of(request)
        asking = await own.sign_in.asking(request_id, visitor.browser_hash)
        if asking is None:
            traces.current().refuse("request is not this browser's, or is over", "", _SAME_BROWSER)
            return own.pages.lost(await own.sign_in.lives(request_id), own.url(f"/sign-in/{request_id}"))
        if asking.request.finished:
            return own.pages.response("authorize/finished.html", asker=own.asker(asking))
        return own.email_page(visitor, asking)


def _email_form(doors: APIRouter, own: SignInPages, brake: Callable[[Door], Door]) -> None:
    @doors.post("/{request_id}")
    @brake
    async def send_mail(
        request: Request,
        request_id: str,
        csrf: Field = "",
        email: Field = "",
        website: Field = "",
        form_time: Field = "",
    ) -> Response:
        visitor = own.visitors.of_own_form(request, csrf)
        asking = await own.sign_in.asking(request_id, visitor.browser_hash)
        if asking is None or asking.request.finished:
            return own.see(f"/sign-in/{request_id}")
        address = addresses.parse(email)
        if address is None:
            traces.current().refuse("no mail address", f"{len(email)} characters", "one address, name@example.com")
            return own.email_page(visitor, asking, email, "Enter one email address, like name@example.com.")
        if website:  # only a robot fills a field that nobody sees
            traces.current().refuse(
                "a hidden field was filled in", "a robot, or a browser that fills in forms", "a person"
            )
            return own.email_page(
                visitor, asking, email, "A field that people do not see was filled in. Send the form again."
            )
        started = await own.sign_in.start(request_id, address, browser_of(visitor))
        await own.slow_down(form_time)
        if started is None:
            return own.see(f"/sign-in/{request_id}")
        traces.current().tell(email=traces.masked(address.mailbox))
        if isinstance(started, int):
            fewer = "fewer mails: LIMIT_ADDRESS, LIMIT_NETWORK, LIMIT_TOTAL"
            traces.current().refuse("a limit of mails", f"one more, {started} s too early", fewer)
            return own.email_page(visitor, asking, email, wait=started)
        return own.visitors.keep(own.see(f"/sign-in/{request_id}/{started.id}"), visitor)


def _waiting_doors(doors: APIRouter, own: SignInPages) -> None:
    @doors.get("/{request_id}/{attempt_id}")
    async def wait(request: Request, request_id: str, attempt_id: str) -> Response:
        visitor = own.visitors.of(request)
        waiting = await own.sign_in.look(attempt_id, visitor.browser_hash)
        if waiting is None:
            return own.see(f"/sign-in/{request_id}")
        if waiting.state == "pending":
            return own.waiting_page(visitor, waiting)
        if waiting.state == "consumed":
            return own.see(f"/consent/{request_id}")
        return own.ended_page(waiting.state, True, request_id, waiting.attempt.email)

    @doors.get("/{request_id}/{attempt_id}/state")
    async def state(request: Request, request_id: str, attempt_id: str) -> Response:
        waiting = await own.sign_in.look(attempt_id, own.visitors.of(request).browser_hash, polling=True)
        found = waiting.state if waiting else "expired"
        answer = {
            "state": "signed_in" if found == "consumed" else found,
            "mail": waiting.mail if waiting else "sent",
            "next": own.url(f"/consent/{request_id}") if found == "consumed" else None,
            "expires_in": own.sign_in.seconds_left(waiting.attempt) if waiting else 0,
        }
        return JSONResponse(answer, headers={"cache-control": "no-store"})


def _waiting_forms(doors: APIRouter, own: SignInPages, brake: Callable[[Door], Door]) -> None:
    @doors.post("/{request_id}/{attempt_id}/code")
    @brake
    async def redeem_code(
        request: Request, request_id: str, attempt_id: str, csrf: Field = "", code: Field = ""
    ) -> Response:
        visitor = own.visitors.of_own_form(request, csrf)
        result = await own.sign_in.redeem_code(attempt_id, code, browser_of(visitor))
        if isinstance(result, SignedIn):
            return own.signed_in(result, None)
        waiting = await own.sign_in.look(attempt_id, visitor.browser_hash)
        if waiting is None or waiting.state != "pending" or result is None:
            return own.see(f"/sign-in/{request_id}/{attempt_id}")
        traces.current().refuse("wrong code", wrong_code(result), "the eight digits of the newest mail")
        return own.waiting_page(visitor, waiting, wrong_code(result))

    @doors.post("/{request_id}/{attempt_id}/resend")
    @brake
    async def resend(request: Request, request_id: str, attempt_id: str, csrf: Field = "") -> Response:
        visitor = own.visitors.of_own_form(request, csrf)
        await own.sign_in.resend(attempt_id, visitor.browser_hash)
        return own.see(f"/sign-in/{request_id}/{attempt_id}")

    @doors.post("/{request_id}/{attempt_id}/change")
    async def change_address(request: Request, request_id: str, attempt_id: str, csrf: Field = "") -> Response:
        visitor = own.visitors.of_own_form(request, csrf)
        await own.sign_in.cancel(attempt_id, visitor.browser_hash)
        return own.see(f"/sign-in/{request_id}")


def _link_doors(doors: APIRouter, own: SignInPages) -> None:
    @doors.api_route("/link", methods=["GET", "HEAD"])
    async def open_link(request: Request, t: str = "") -> Response:
        visitor = own.visitors.welcome(request)
        opened = await own.sign_in.opened_link(t)
        if opened is None:
            return own.ended_page("unknown", False)
        attempt, state, client, asked = opened
        traces.current().belongs_to(traces.id_of(attempt.request_id))
        same_browser = bool(visitor.browser) and attempt.browser_hash == visitor.browser_hash
        traces.current().tell(
            opened="in the browser that asked" if same_browser else "in another browser, or by a scanner"
        )
        if state != "pending" or client is None or asked is None:
            shown = {"consumed": "used", "pending": "expired"}.get(state, state)
            return own.ended_page(shown, same_browser, attempt.request_id, attempt.email)
        context: dict[str, Any] = {
            "asker": own.asker(Asking(asked, client)),
            "csrf": own.visitors.csrf(visitor),
            "token": t,
            "email": attempt.email,
            "reference": attempt.reference,
        }
        if same_browser:
            person = await own.sign_in.person(visitor.session_hash)
            other = person.email if person and person.email.lower() != attempt.email_key else None
            return own.pages.response(
                "signin/link.html", **context, action=own.url("/sign-in/link"), auto=other is None, other_email=other
            )
        page = own.pages.response(
            "signin/elsewhere.html",
            **context,
            browser=attempt.browser,
            network=attempt.network,
            asked_at=f"{attempt.created_at:%d %B %Y, %H:%M} UTC",
            code=own.sign_in.code_of(attempt),
            not_me_action=own.url("/sign-in/link/not-me"),
        )
        return own.visitors.keep(page, visitor)


def _link_forms(doors: APIRouter, own: SignInPages) -> None:
    @doors.post("/link")
    async def redeem_link(request: Request, csrf: Field = "", token: Field = "") -> Response:
        visitor = own.visitors.of_own_form(request, csrf)
        result = await own.sign_in.redeem_link(token, browser_of(visitor))
        if result is None:
            traces.current().refuse("the link is over, or another browser's", "", _SAME_BROWSER)
            return RedirectResponse(own.url("/sign-in/link", t=token), 303)
        return own.signed_in(result, await own.sign_in.asking(result.request_id, visitor.browser_hash))

    @doors.post("/link/not-me")
    async def not_me(request: Request, csrf: Field = "", token: Field = "") -> Response:
        # Any browser with the mail may cancel; the CSRF check needs the cookie that the link's page set.
        visitor = own.visitors.of_own_form(request, csrf)
        state = await own.sign_in.not_me(token, visitor.network) or "unknown"
        return own.ended_page("used" if state == "consumed" else state, False)


def wrong_code(result: WrongCode) -> str:
    """The message beside the code field."""
    if result.codes_off:
        return "Too many wrong codes were typed for this address today. Open the link from the mail in this browser."
    left = result.tries_left
    return f"That code is not right. {left} {'try' if left == 1 else 'tries'} left."
