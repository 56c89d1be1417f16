"""/account/tokens: personal tokens are made and ended here, and each is shown once."""

from typing import Annotated

from fastapi import APIRouter, Form
from starlette.requests import Request
from starlette.responses import Response

from gatepost_idp.account.doors import AccountPages
from gatepost_idp.account.personal_tokens import DAYS, Made, Wrong
from gatepost_idp.signin.guests import Field, Guest

TOKENS = "/account/tokens"


async def tokens_page(
    own: AccountPages, guest: Guest, made: Made | None = None, wrong: Wrong | None = None
) -> Response:
    """The form; ``made``: the token to copy now; ``wrong``: why none was made."""
    return own.page(
        guest,
        "account/tokens.html",
        400 if wrong else 200,
        action=own.url(TOKENS),
        account_url=own.url("/account"),
        offers=await own.steps.tokens.offers(guest.person),
        days=DAYS,
        made=made,
        problem=wrong.words if wrong else None,
    )


def token_doors(own: AccountPages, doors: APIRouter) -> None:
    """Making a token, and ending one."""

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
        made = await own.steps.tokens.make(guest.person, name, resource, scope or [], life, guest.source)
        if isinstance(made, Wrong):
            return await tokens_page(own, guest, wrong=made)
        return await tokens_page(own, guest, made=made)

    @doors.post("/tokens/end")
    async def end_token(request: Request, csrf: Field = "", token: Field = "") -> Response:
        guest = await own.enter_by_form(request, csrf, "/account")
        if isinstance(guest, Response):
            return guest
        await own.steps.tokens.end(guest.person, token, guest.source)
        return own.see("/account?done=token-ended")
