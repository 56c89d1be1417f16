"""/admin/people: a list by address; each person has a page with scopes, connections and a disable switch."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Form
from starlette.requests import Request
from starlette.responses import Response

from gatepost_idp import redirects
from gatepost_idp.admin.doors import AdminPages, act_of, moment, page_of_client, place_of
from gatepost_idp.admin.people import Seen
from gatepost_idp.errors import PageProblem
from gatepost_idp.signin.guests import Door, Field, Guest
from gatepost_idp.store.connections import Connection

PEOPLE = "/admin/people"
SECTION = "/people"


async def people_page(
    own: AdminPages, guest: Guest, q: str = "", start: str = "", invited: str = "", problem: str = ""
) -> Response:
    """The list; ``invited``: the address that may sign up now; ``problem``: why nobody was invited."""
    found = await own.steps.people.page(q, start)
    return own.show(
        guest,
        SECTION,
        "people",
        400 if problem else 200,
        people=found.rows,
        q=q,
        next=own.more(PEOPLE, found.following, q=q),
        moment=moment,
        invited=invited,
        problem=problem,
        mcp_url=own.settings.mcp_resource_url,
    )


def person_page(own: AdminPages, guest: Guest, seen: Seen, done: str) -> Response:
    """The page of one person; ``done``: what was just changed."""
    return own.show(
        guest,
        SECTION,
        "person",
        seen=seen,
        done=done,
        moment=moment,
        is_self=seen.person.id == guest.person.account_id,
        connections=[_connection(one) for one in seen.connections],
        minutes=own.settings.access_token_minutes,
    )


def _connection(one: Connection) -> dict[str, Any]:
    return {
        "grant": one.grant_id,
        "client": page_of_client(one.client_id, one.client_row),
        "name": redirects.plain_name(one.client_name),
        "host": redirects.host_shown(one.redirect_uri),
        "scope": " ".join(one.scope),
        "since": moment(one.created_at),
        "used": moment(one.used_at),
    }


def nobody(what: str) -> PageProblem:
    """The 404 page for an unknown ``what``, such as a person."""
    return PageProblem(f"There is no such {what}", "It may have been deleted in the meantime.", status=404)


def people_doors(own: AdminPages, doors: APIRouter, brake: Callable[[Door], Door]) -> None:
    """Adds the list, the invitation form, and the page and forms of one person."""

    @doors.get("/people")
    @brake
    async def list_people(request: Request, q: str = "", start: str = "") -> Response:
        guest = await own.enter(request, PEOPLE)
        return guest if isinstance(guest, Response) else await people_page(own, guest, q, start)

    @doors.post("/people/invite")
    async def invite(request: Request, csrf: Field = "", email: Field = "") -> Response:
        guest = await own.enter_by_form(request, csrf, PEOPLE, fresh=True)
        if isinstance(guest, Response):
            return guest
        invited = await own.steps.people.invite(act_of(guest), email)
        problem = "" if invited else "Enter one email address, like name@example.com."
        return await people_page(own, guest, invited=invited or "", problem=problem)

    @doors.get("/people/{account_id}")
    @brake
    async def show_person(request: Request, account_id: str, done: str = "") -> Response:
        guest = await own.enter(request, place_of(f"{PEOPLE}/", account_id))
        if isinstance(guest, Response):
            return guest
        seen = await own.steps.people.see(account_id)
        if seen is None:
            raise nobody("person")
        return person_page(own, guest, seen, done)

    _change_doors(own, doors)


def _change_doors(own: AdminPages, doors: APIRouter) -> None:
    @doors.post("/people/{account_id}/scopes")
    async def set_scopes(
        request: Request,
        account_id: str,
        csrf: Field = "",
        resource: Field = "",
        scope: Annotated[list[str] | None, Form()] = None,
    ) -> Response:
        page = place_of(f"{PEOPLE}/", account_id)
        guest = await own.enter_by_form(request, csrf, page, fresh=True)
        if isinstance(guest, Response):
            return guest
        if not await own.steps.people.set_scopes(act_of(guest), account_id, resource, scope or []):
            raise nobody("person")
        return own.see(f"{page}?done=scopes")

    @doors.post("/people/{account_id}/switch")
    async def switch_person(request: Request, account_id: str, csrf: Field = "", off: Field = "") -> Response:
        page, is_off = place_of(f"{PEOPLE}/", account_id), off == "yes"
        # Disabling must not wait for a fresh sign-in by mail; enabling can.
        guest = await own.enter_by_form(request, csrf, page, fresh=not is_off)
        if isinstance(guest, Response):
            return guest
        changed = await own.steps.people.switch(act_of(guest), account_id, off=is_off)
        return own.see(f"{page}?done={'off' if is_off else 'on'}" if changed else page)
