"""/account/tokens: the page on which personal tokens are made, shown once, and ended."""

from typing import Annotated

from fastapi import APIRouter, Form
from starlette.requests import Request
from starlette.responses import Response

from gatepost_idp.account.doors import AccountPages
from gatepost_idp.account.personal_tokens import DAYS, Asked, Made, Wrong
from gatepost_idp.signin.guests import Field, Guest

TOKENS = "/account/tokens"
_NOTHING_YET = Asked(name="", resource="", ticked=(), days=30)


async def tokens_page(
    own: AccountPages, guest: Guest, asked: Asked = _NOTHING_YET, made: Made | None = None, wrong: Wrong | None = None
) -> Response:
    """The form with what was ``asked``; ``made``: the token to copy now; ``wrong``: why none was made."""
    return own.page(
        guest,
        "account/tokens.html",
        400 if wrong else 200,
        action=own.url(TOKENS),
        account_url=own.url("/account"),
        offers=await own.steps.tokens.offers(guest.person),
        days=DAYS,
        asked=asked,
        made=made,
        problem=wrong,
    )


def token_doors(own: AccountPages, doors: APIRouter) -> None:
    """Adds the routes that make and end tokens."""

    @doors.get("/tokens")
    async def show_tokens(request: Request) -> Response:
        guest = await own.enter(request, TOKENS, fresh=True)
        return guest if isinstance(guest, Response) else await tokens_page(own, guest)

    @doors.post("/tokens")
    async def make_token(
        request: Request,
        csrf: Field = "",
        name: Field = "",
        resource: Field = "",
        days: Field = "",
        scope: Annotated[list[str] | None, Form()] = None,
    ) -> Response:
        guest = await own.enter_by_form(request, csrf, TOKENS, fresh=True)
        if isinstance(guest, Response):
            return guest
        life = int(days) if days.isascii() and days.isdigit() and len(days) < 5 else 0
        asked = Asked(name, resource, tuple(scope or ()), life)
        made = await own.steps.tokens.make(guest.person, asked, guest.source)
        if isinstance(made, Wrong):
            return await tokens_page(own, guest, asked, wrong=made)
        return await tokens_page(own, guest, made=made)

    @doors.post("/tokens/end")
    async def end_token(request: Request, csrf: Field = "", token: Field = "") -> Response:
        guest = await own.enter_by_form(request, csrf, "/account")
        if isinstance(guest, Response):
            return guest
        await own.steps.tokens.end(guest.person, token, guest.source)
        return own.see("/account?done=token-ended")
