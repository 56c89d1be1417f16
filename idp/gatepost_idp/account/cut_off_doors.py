"""/account/cut-off: the page behind the link in the mail about a new connection; only its button ends anything."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from gatepost_idp.account.doors import AccountPages
from gatepost_idp.pages import asker
from gatepost_idp.signin.guests import Field

CUT_OFF = "/account/cut-off"


def cut_off_doors(own: AccountPages, doors: APIRouter) -> None:
    """Adds the page, which mail scanners may open without effect, and its form."""

    @doors.api_route("/cut-off", methods=["GET", "HEAD"])
    async def show(request: Request, t: str = "") -> Response:
        visitor = own.visitors.welcome(request)
        news = await own.steps.cut_off.opened(t)
        if news is None:
            return own.open_page(visitor, "account/cut_off.html", 410, state="nothing")
        return own.open_page(
            visitor,
            "account/cut_off.html",
            state="asked",
            token=t,
            action=own.url(CUT_OFF),
            asker=asker(news.client_id, news.client_name, news.redirect_uri, own.catalogue.name_of(news.resource)),
            scopes=own.catalogue.titles(news.resource, news.scope),
            browser=news.browser,
            network=news.network,
            connected_at=f"{news.created_at:%d %B %Y, %H:%M} UTC",
        )

    @doors.post("/cut-off")
    async def cut(request: Request, csrf: Field = "", token: Field = "") -> Response:
        # Anybody with the mail may do this; the CSRF check needs the cookie that the page set.
        visitor = own.visitors.of_own_form(request, csrf)
        is_cut = await own.steps.cut_off.cut(token, visitor.network)
        state = "cut" if is_cut else "nothing"
        return own.open_page(
            visitor, "account/cut_off.html", 200 if is_cut else 410, state=state, account_url=own.url("/account")
        )
