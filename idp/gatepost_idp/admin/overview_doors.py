"""/admin, /admin/state and /admin/audit: daily figures, the server's state, and the audit log."""

from collections.abc import Callable
from dataclasses import dataclass

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from gatepost_idp.admin.doors import ADMIN, AdminPages, moment
from gatepost_idp.admin.figures import Days
from gatepost_idp.signin.guests import Door, Field
from gatepost_idp.store.audit_pages import Wanted

AUDIT = "/admin/audit"
STATE = "/admin/state"
WIDTH, HEIGHT = 300, 60


@dataclass(frozen=True, slots=True)
class Chart:
    """A bar chart as one SVG path in a box of WIDTH by HEIGHT."""

    kind: str
    path: str
    total: int
    most: int


def chart(days: Days) -> Chart:
    """One bar per day, the highest filling the box; a day that is not zero always has a visible bar."""
    numbers = [number for _, number in days.days]
    most, step = max(numbers), WIDTH / len(numbers)
    bars = []
    for place, number in enumerate(numbers):
        if number:
            high = max(1.5, HEIGHT * number / most)
            bars.append(f"M{place * step + 1:.4g} {HEIGHT}v-{high:.4g}h{step - 2:.4g}v{high:.4g}z")
    return Chart(days.kind, "".join(bars), sum(numbers), most)


def overview_doors(own: AdminPages, doors: APIRouter, brake: Callable[[Door], Door]) -> None:
    """Adds the three read-only pages."""

    @doors.get("")
    @brake
    async def show_overview(request: Request) -> Response:
        guest = await own.enter(request, ADMIN)
        if isinstance(guest, Response):
            return guest
        kinds = await own.steps.figures.last()
        days = [day for day, _ in kinds[0].days]
        rows = [(f"{day:%Y-%m-%d}", [kind.days[place][1] for kind in kinds]) for place, day in enumerate(days)]
        return own.show(
            guest, "", "overview", charts=[chart(kind) for kind in kinds], rows=rows[::-1], size=(WIDTH, HEIGHT)
        )

    @doors.get("/state")
    @brake
    async def show_state(request: Request) -> Response:
        guest = await own.enter(request, STATE)
        if isinstance(guest, Response):
            return guest
        return own.show(guest, "/state", "state", state=await own.steps.health.see(), moment=moment)

    @doors.get("/audit")
    @brake
    async def show_audit(
        request: Request, event: str = "", person: str = "", client: str = "", trace: str = "", start: str = ""
    ) -> Response:
        guest = await own.enter(request, AUDIT)
        if isinstance(guest, Response):
            return guest
        given = {"event": event.strip(), "person": person.strip(), "client": client.strip(), "trace": trace.strip()}
        wanted = Wanted(given["event"], given["person"], given["client"], given["trace"])
        found = await own.steps.events.page(wanted, start)
        return own.show(
            guest, "/audit", "audit", events=found.rows, given=given, moment=moment,
            next=own.more(AUDIT, found.following, **given),
        )  # fmt: skip  # one page


def way_out(own: AdminPages, doors: APIRouter) -> None:
    """Adds the form of the 403 page's button, which signs in with another address."""

    @doors.post("/switch")
    async def switch_account(request: Request, csrf: Field = "") -> Response:
        return await own.switch(own.visitors.of_own_form(request, csrf), ADMIN)
