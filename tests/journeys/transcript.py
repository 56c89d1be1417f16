"""Prints one whole run against ``gatepost demo`` as the README shows it: ``python -m tests.journeys.transcript``."""

import html
import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2

from tests.journeys.wire import Exchange, whole_run

WIDTH = 110
_SECRETS = re.compile(r"(?<![A-Za-z0-9_-])(?:gp_[a-z]{2}_|eyJ)[\w.-]+")
_PLACES = re.compile(r"(/(?:sign-in|consent))((?:/[\w-]{12,})+)")
_INDENT = "   "


def render(exchanges: Sequence[Exchange]) -> str:
    """The run in short lines: statuses and what matters in each answer, tokens truncated."""
    lines: list[str] = []
    number = 0
    for exchange in exchanges:
        if exchange.what:
            number += 1
            lines += ["", f"{number}. {exchange.what}"] if lines else [f"{number}. {exchange.what}"]
        lines += [_INDENT + _short(line) for line in (_request(exchange), *_answer(exchange))]
    return "\n".join(lines) + "\n"


def _request(exchange: Exchange) -> str:
    request = exchange.response.request
    url = f"{request.url.scheme}://{request.url.netloc.decode()}{request.url.path}"
    if exchange.by == "browser":
        names = ", ".join(name for name, _ in parse_qsl(request.url.query.decode()))
        return f"{request.method} {request.url.path}" + (f"  with {names}" if names else "")
    return f"{request.method} {url}{_sent(request)}"


def _sent(request: httpx2.Request) -> str:
    """The gist of what the request sends."""
    body = request.content.decode()
    if body.startswith("{"):
        message = json.loads(body)
        name = message.get("params", {}).get("name", "")
        return f"  {message['method']} {name}".rstrip() if "method" in message else ""
    form = dict(parse_qsl(body))
    return f"  {form['grant_type']}" if "grant_type" in form else ""


def _answer(exchange: Exchange) -> list[str]:
    response = exchange.response
    if response.status_code == httpx2.codes.SEE_OTHER:
        return [f"{response.status_code}  on to {urlsplit(response.headers['location']).path}"]
    if exchange.by == "browser":
        return _page(response)
    if "www-authenticate" in response.headers:
        first, *others = response.headers["www-authenticate"].split(", ")
        return [f"{response.status_code}  {first}", *(f"     {other}" for other in others)]
    return [f"{response.status_code}  {line}" if not n else f"     {line}" for n, line in enumerate(_said(response))]


def _page(response: httpx2.Response) -> list[str]:
    """A page's heading; for the last one, where it leads."""
    heading = re.search(r"<h1>(.*?)</h1>", response.text, re.DOTALL)
    shown = html.unescape(re.sub(r"<[^>]+>", "", heading.group(1))).strip() if heading else ""
    target = re.search(r'data-target="([^"]+)"', response.text)
    lines = [f"{response.status_code}  “{shown}”"]
    if target:
        url = urlsplit(html.unescape(target.group(1)))
        names = " and ".join(name for name, _ in parse_qsl(url.query))
        lines.append(f"     on to {url.scheme}://{url.netloc}{url.path} with {names}")
    return lines


def _said(response: httpx2.Response) -> list[str]:
    body = response.json()
    result = body.get("result")
    if isinstance(result, dict):
        return _result(result)
    return [f"{name}: {_text(body[name])}" for name in _ESSENTIAL if name in body]


def _result(result: dict[str, Any]) -> list[str]:
    if "tools" in result:
        return [", ".join(tool["name"] for tool in result["tools"])]
    if "structuredContent" in result:
        return [f"{name}: {_text(value)}" for name, value in result["structuredContent"].items()]
    return [f"supportedVersions: {_text(result.get('supportedVersions'))}"]


_ESSENTIAL = (
    "resource",
    "authorization_servers",
    "issuer",
    "authorization_endpoint",
    "token_endpoint",
    "registration_endpoint",
    "code_challenge_methods_supported",
    "client_id",
    "redirect_uris",
    "access_token",
    "token_type",
    "expires_in",
    "refresh_token",
    "scope",
)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _short(line: str) -> str:
    """The text without credentials, and not too wide."""
    line = _PLACES.sub(lambda found: found[1] + "/…" * found[2].count("/"), line)
    line = _SECRETS.sub(lambda found: found[0][:10] + "…", line)
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"


def main() -> None:
    """Starts the demo in a temporary folder, connects as a newcomer does, and prints the requests and answers."""
    from tests.packaging.demo import MCP_URL, MailboxPage, checkout_command, demo, demo_ports
    from tests.support.person import Person

    with (
        tempfile.TemporaryDirectory() as folder,
        demo_ports(),
        demo(checkout_command(), Path(folder)),
        Person("you@example.com", MailboxPage()) as person,
    ):
        print(render(whole_run(MCP_URL, person).exchanges), end="")


if __name__ == "__main__":
    main()
