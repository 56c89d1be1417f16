"""GET /authorize and the pages below /consent: each route parses, calls one step of the journey, and answers."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Form
from fastapi.responses import RedirectResponse
from starlette.requests import Request
from starlette.responses import Response

from gatepost_idp import parameters, traces
from gatepost_idp.authorize import checks
from gatepost_idp.authorize.checks import NoReturn
from gatepost_idp.authorize.journey import Journey, Stage, Visit
from gatepost_idp.catalogue import Catalogue
from gatepost_idp.clients.metadata_document import NoDocument
from gatepost_idp.clients.registry import Registry
from gatepost_idp.consent import rules
from gatepost_idp.errors import PageProblem
from gatepost_idp.pages import Asker, Pages, asker, date
from gatepost_idp.parameters import Parameters
from gatepost_idp.protocol import Clock, Refused, scope_text
from gatepost_idp.settings import Settings
from gatepost_idp.store.clients import Client
from gatepost_idp.visitors import Visitor, Visitors

Field = Annotated[str, Form()]
_NO_STORE = {"cache-control": "no-store", "referrer-policy": "no-referrer"}


class AuthorizePages:
    """GET /authorize, and the pages that the routes below render."""

    def __init__(
        self,
        journey: Journey,
        registry: Registry,
        pages: Pages,
        visitors: Visitors,
        settings: Settings,
        catalogue: Catalogue,
        clock: Clock,
    ) -> None:
        self.journey = journey
        self.registry = registry
        self.pages = pages
        self.visitors = visitors
        self.settings = settings
        self.catalogue = catalogue
        self._clock = clock

    async def authorize(self, request: Request) -> Response:
        """GET /authorize (OAuth 2.1 section 4.1.1); raises PageProblem where no redirect may be sent.

        Only this route may redirect without showing a page. Its redirects follow a GET, not a form.
        """
        asked = parameters.parse(_query(request))
        if isinstance(asked, Refused):
            raise PageProblem("This request cannot be read", asked.description, reason=asked.reason, action=_GO_BACK)
        trace = traces.current()
        trace.asked, trace.client_id = asked, asked.get("client_id") or ""
        visitor = self.visitors.welcome(request)
        client = await self._client(asked, visitor)
        redirect_uri = checks.redirect_of(asked, client)
        if isinstance(redirect_uri, NoReturn) or client is None:
            raise _problem(redirect_uri)
        checked = checks.request_of(asked, client, redirect_uri, self.catalogue, self._clock())
        if isinstance(checked, Refused):
            back = self._refuse(redirect_uri, asked.get("state"), checked)
            unseen = checks.returns_unseen(asked, client, redirect_uri)
            if unseen or await self.journey.is_signed_in(visitor.session_hash):
                return _back(back)
            return self._refused_page(asker(client.id, client.name, redirect_uri, ""), back, checked)
        trace.belongs_to(checked.trace_id)
        stage = await self.journey.begin(checked, client, Visit(checked.id, visitor))
        if isinstance(stage.step, Refused):
            return _back(self._refuse(redirect_uri, checked.state, stage.step))
        trace.tell(next="a code at once" if stage.answer else stage.step, known_scope=scope_text(checked.scope))
        if stage.answer is not None:
            return _back(stage.answer)
        place = "sign-in" if stage.step == "sign_in" else "consent"
        return self.visitors.keep(
            RedirectResponse(f"{self.settings.root}/{place}/{checked.id}", 303, _NO_STORE), visitor
        )

    async def _client(self, asked: Parameters, visitor: Visitor) -> Client | None:
        if asked.repeats_who_asks:
            return None  # refused below; nothing is fetched for it
        client_id = asked.get("client_id") or ""
        try:
            return await self.registry.find(client_id, visitor.network)
        except NoDocument as missing:
            raise _problem(checks.no_document(client_id, missing)) from None

    def _refuse(self, redirect_uri: str, state: str | None, refused: Refused) -> str:
        """The URL that redirects the error to the client; notes the refusal in the trace."""
        trace = traces.current()
        trace.refuse(f"{refused.error}: {refused.reason}", refused.received, refused.expected)
        return self.journey.refusal(redirect_uri, state, refused)

    def _refused_page(self, shown: Asker, target: str, refused: Refused) -> Response:
        """Lets the person decide whether to follow the redirect: the client is unknown and nobody is signed in."""
        words = {"asker": shown, "target": target, "reason": refused.description}
        return self.pages.response("authorize/refused.html", 400, trace_id=traces.current().id, **words)

    async def page(self, visitor: Visitor, stage: Stage | None, request_id: str, review: bool = False) -> Response:
        """The page or redirect for a stage of the journey; ``review``: show consent in full, not the one-tap page."""
        root = self.settings.root
        _tell(stage)
        if stage is None:
            return self.pages.lost(await self.journey.lives(request_id), f"{root}/consent/{request_id}")
        if stage.answer is not None:
            return self.finish_page(stage, denied=isinstance(stage.step, Refused))
        if stage.step == "finished":
            return self.pages.response("authorize/finished.html", asker=self._asker(stage))
        if stage.step == "sign_in" or stage.session is None:
            return RedirectResponse(f"{root}/sign-in/{request_id}", 303)
        if stage.step == "own_page":
            return RedirectResponse(f"{root}{stage.request.redirect_uri}", 303)
        if stage.step == "one_tap" and not review:
            return self.visitors.keep(self._one_tap_page(visitor, stage), visitor)
        return self.visitors.keep(self._consent_page(visitor, stage), visitor)

    def finish_page(self, stage: Stage, denied: bool) -> Response:
        """A 200 page that goes on by itself: Chromium applies ``form-action`` to a redirect that follows a POST."""
        shown = self._asker(stage)
        return self.pages.response(
            "authorize/finish.html", asker=shown, target=stage.answer, denied=denied, local=shown.local
        )

    def _consent_page(self, visitor: Visitor, stage: Stage) -> Response:
        request = stage.request
        root = self.settings.root
        resource = self.catalogue.find(request.resource)
        before = stage.agreement.approved if stage.agreement else request.scope
        scopes = [
            {
                "name": scope.name,
                "title": scope.title,
                "description": scope.description,
                "held": scope.name in stage.held,
                "ticked": scope.name in before,
            }
            for scope in (resource.scope if resource else ())
            if scope.name in request.scope
        ]
        shown = self._asker(stage)
        lives = rules.lives(self.settings.consent_days)
        return self.pages.response(
            "consent/consent.html",
            asker=shown,
            csrf=self.visitors.csrf(visitor),
            action=f"{root}/consent/{request.id}",
            email=stage.session.email if stage.session else "",
            scopes=scopes,
            lives=[
                {"days": days, "until": date(self._clock() + timedelta(days=days)), "usual": days == lives[-1]}
                for days in lives
            ],
            remember_possible=stage.client.unguessable and request.resource_named and not shown.local,
            switch_action=f"{root}/consent/{request.id}/switch",
        )

    def _one_tap_page(self, visitor: Visitor, stage: Stage) -> Response:
        request = stage.request
        root = self.settings.root
        agreed = stage.agreement
        return self.pages.response(
            "consent/continue.html",
            asker=self._asker(stage),
            csrf=self.visitors.csrf(visitor),
            action=f"{root}/consent/{request.id}/again",
            email=stage.session.email if stage.session else "",
            until=date(agreed.until) if agreed else "",
            scopes=self.catalogue.titles(request.resource, agreed.approved) if agreed else [],
            review_url=f"{root}/consent/{request.id}?review=yes",
        )

    def _asker(self, stage: Stage) -> Asker:
        resource = self.catalogue.find(stage.request.resource)
        name = resource.name if resource else ""
        return asker(stage.client.id, stage.client.name, stage.request.redirect_uri, name)


_GO_BACK = "Go back to your app and connect again."


def router(own: AuthorizePages) -> APIRouter:
    """The routes below /consent, and the one that cancels a sign-in."""
    doors = APIRouter(include_in_schema=False)

    @doors.get("/consent/{request_id}")
    async def show_consent(request: Request, request_id: str, review: str = "") -> Response:
        visitor = own.visitors.of(request)
        stage = await own.journey.resume(Visit(request_id, visitor))
        return await own.page(visitor, stage, request_id, review=bool(review))

    @doors.post("/consent/{request_id}")
    async def decide(
        request: Request,
        request_id: str,
        csrf: Field = "",
        decision: Field = "",
        remember: Field = "",
        scope: Annotated[list[str] | None, Form()] = None,
    ) -> Response:
        visitor = own.visitors.of_own_form(request, csrf)
        visit = Visit(request_id, visitor)
        allowed = decision == "allow"
        traces.current().tell(decision="allow" if allowed else "deny", ticked=scope_text(scope or []))
        stage = await (
            own.journey.agree(visit, scope or [], rules.days(remember, own.settings.consent_days))
            if allowed
            else own.journey.deny(visit)
        )
        return await own.page(visitor, stage, request_id)

    @doors.post("/consent/{request_id}/again")
    async def go_on(request: Request, request_id: str, csrf: Field = "", decision: Field = "") -> Response:
        visitor = own.visitors.of_own_form(request, csrf)
        visit = Visit(request_id, visitor)
        traces.current().tell(decision="allow" if decision == "allow" else "deny")
        stage = await (own.journey.agree_again(visit) if decision == "allow" else own.journey.deny(visit))
        return await own.page(visitor, stage, request_id)

    _other_doors(doors, own)
    return doors


def _other_doors(doors: APIRouter, own: AuthorizePages) -> None:
    """Adds the routes that switch accounts and cancel a sign-in."""

    @doors.post("/consent/{request_id}/switch")
    async def switch_account(request: Request, request_id: str, csrf: Field = "") -> Response:
        visitor = own.visitors.of_own_form(request, csrf)
        await own.journey.sign_out(Visit(request_id, visitor))
        response = RedirectResponse(f"{own.settings.root}/sign-in/{request_id}", 303)
        response.headers.append("set-cookie", own.visitors.cookies.ended_session_header())
        return response

    @doors.post("/sign-in/{request_id}/deny")
    async def cancel(request: Request, request_id: str, csrf: Field = "") -> Response:
        visitor = own.visitors.of_own_form(request, csrf)
        stage = await own.journey.deny(Visit(request_id, visitor))
        return await own.page(visitor, stage, request_id)


def _tell(stage: Stage | None) -> None:
    """Notes in the trace what the page is about."""
    trace = traces.current()
    if stage is None:
        trace.refuse("request is not this browser's, or is over", "", "the browser that started it, within 30 minutes")
        return
    trace.client_id = stage.request.client_id
    step = "denied" if isinstance(stage.step, Refused) else stage.step
    trace.tell(next="back to the client" if stage.answer else step)


def _query(request: Request) -> str:
    """The raw query; bytes outside ASCII become characters that ``parse`` refuses."""
    raw: bytes = request.scope["query_string"]
    return raw.decode("ascii", "replace")


def _back(location: str) -> Response:
    """Redirects to the client: 302, since both requests are GETs; with no Referer, which would leak the code."""
    return Response(status_code=302, headers={**_NO_STORE, "location": location})


def _problem(found: str | NoReturn) -> PageProblem:
    assert isinstance(found, NoReturn)  # noqa: S101 (there is no redirect address without a client)
    return PageProblem(
        "This connection cannot be started",
        found.happened,
        "To keep you safe, we do not send you back there.",
        found.action,
        details=found.details,
        reason=found.reason,
        received=found.received,
        expected=found.expected,
        event=found.event,
    )
