"""The endpoint descriptions are complete, and the judge accepts the answers to what schemathesis generates."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis import APIOperation, Case, GenerationMode
from starlette.routing import BaseRoute

from gatepost_idp import app as idp_app
from gatepost_resource.app import build_app
from gatepost_resource.settings import Settings
from tests.fuzz.doors import IDP, RESOURCE, Door, openapi
from tests.fuzz.grammar import bearing
from tests.fuzz.running import Target, run
from tests.support.line import Request
from tests.support.serving import settings_of
from tests.support.smtp import Postbox

SHARE = 0.18
CHOSEN = ("accept", "content-type", "cookie", "user-agent")  # the other headers are the line's


def each(routes: Iterable[BaseRoute]) -> Iterator[tuple[str, str]]:
    """Method and path of every route; ``*`` if it takes any method."""
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from each(inner.routes)
            continue
        methods = getattr(route, "methods", None)
        yield from ((method, str(getattr(route, "path", route))) for method in methods or ("*",))


def described(doors: Iterable[Door]) -> set[tuple[str, str]]:
    """Method and path of every description."""
    return {(method, door.path) for door in doors for method in ("*",) * (door.kind == "mcp") or door.methods}


def test_every_address_of_the_authorization_server_is_described(tmp_path: Path, postbox: Postbox) -> None:
    """A new endpoint needs a line in doors.py, and so is part of every wave."""
    guard = idp_app.create(settings_of(tmp_path, postbox, 9000))  # and behind it the straight way, and the framework
    assert set(each(guard._app._app.routes)) == described(IDP)  # type: ignore[attr-defined]  # ASGIApp says less than it is


def test_every_address_of_the_resource_server_is_described() -> None:
    """As above."""
    assert set(each(build_app(Settings()).routes)) == described(RESOURCE)


@pytest.mark.clause("E1", "E2")
@pytest.mark.parametrize("mode", GenerationMode)
@pytest.mark.parametrize("name", ["idp", "resource"])
def test_what_the_description_allows_and_what_it_does_not(target: Target, name: str, mode: GenerationMode) -> None:
    """Each operation in turn: input that fits its schema (POSITIVE), and input that just does not (NEGATIVE)."""
    doors = IDP if name == "idp" else RESOURCE
    line, judge = (target.idp, target.idp_judge) if name == "idp" else (target.resource, target.resource_judge)
    cases = st.one_of(*(operation.as_strategy(generation_mode=mode) for operation in operations(doors, mode)))

    def work(case: Case[Any]) -> None:
        request = sent(case)
        door = judge.door(request)
        if door is not None and (door.bearer or door.kind == "mcp"):
            request = request.plus(*bearing(target.known.bearers[1]))
        judge.check(request, line.send(request))

    with target.well():
        run(SHARE * len(doors) / (len(IDP) + len(RESOURCE)) / len(GenerationMode), cases, work)


def operations(doors: tuple[Door, ...], mode: GenerationMode) -> list[APIOperation[Any, Any, Any, Any]]:
    """The description's operations; for negative cases only those that can have wrong input."""
    description = openapi(doors)
    if mode is GenerationMode.NEGATIVE:
        for path, found in description["paths"].items():
            description["paths"][path] = {method: one for method, one in found.items() if can_be_wrong(one)}
    schema = schemathesis.openapi.from_dict(description)
    return [schema[path][method] for path, found in description["paths"].items() for method in found]


def can_be_wrong(operation: dict[str, Any]) -> bool:
    """Whether it has a body or a query: any text may be part of a path."""
    return "requestBody" in operation or any(one["in"] == "query" for one in operation["parameters"])


def sent(case: Case[Any]) -> Request:
    """The request that schemathesis would send, for our raw connection."""
    made = case.as_transport_kwargs(base_url="http://localhost")
    query = urlencode(made["params"] or {}, doseq=True, errors="surrogatepass")
    target = quote(urlsplit(made["url"]).path, safe="/%", errors="surrogatepass") + (f"?{query}" if query else "")
    headers = [(name, value) for name, value in made["headers"].items() if name.lower() in CHOSEN]
    body = json.dumps(made["json"]) if "json" in made else made.get("data")
    if isinstance(body, dict):
        body = urlencode(body, doseq=True, errors="surrogatepass")
    content = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    plain = tuple((name.encode(), value.encode("utf-8", "surrogatepass")) for name, value in headers)
    return Request(made["method"].upper(), target.encode(), plain, content)
