"""The steps for each app: reads and checks the data file, and fills in this deployment's URLs."""

import base64
import datetime
import json
import re
import shlex
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gatepost_idp.settings import is_private_host

FILE = Path(__file__).with_name("clients.toml")
Form = Literal["address", "shell", "typed", "json", "toml"]
_LEFT_OVER = re.compile(r"\{[a-z0-9]+\}")


class Step(BaseModel):
    """One step: what to do, and what to copy or open."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    say: str = ""
    show: str = ""
    form: Form | None = Field(default=None, alias="as")
    link: str = Field(default="", pattern=r"^(|https://.+|cursor://.+|vscode:.+|\{account\}.*)$")
    label: str = ""
    carries: str = ""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if bool(self.show) != bool(self.form):
            raise ValueError("what is shown needs a form (as), and a form something to show")
        if bool(self.link) != bool(self.label):
            raise ValueError("a link needs a label, and a label a link")
        if not (self.say if self.show else self.say or self.link):
            raise ValueError("a step needs words")
        return self


class Client(BaseModel):
    """One app, its steps, and the source they were taken from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(pattern=r"^[a-z][a-z-]*$")
    name: str
    hint: str = ""
    reach: Literal["internet", "here"]
    instead: str = ""
    known: Literal["run", "vendor", "others"]
    source: str
    date: datetime.date
    step: tuple[Step, ...] = Field(min_length=1)


class Clients(BaseModel):
    """The data file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    client: tuple[Client, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_its_own(self) -> Self:
        known = {client.key: client for client in self.client}
        if len(known) < len(self.client):
            raise ValueError("two clients have one key")
        for client in self.client:
            other = known.get(client.instead)
            if client.instead and (other is None or other.reach == "internet"):
                raise ValueError(f"{client.key}: {client.instead!r} does not work where it is named instead")
        return self


@dataclass(frozen=True, slots=True)
class Shown:
    """A step as the page shows it. ``show``: what to copy. ``link``: a URL, https or an app's private scheme."""

    say: str
    show: str
    form: Form | None
    link: str
    label: str


@dataclass(frozen=True, slots=True)
class Instructions:
    """One app's steps; none if it ``cannot`` reach this deployment, in which case ``instead`` may name one that can."""

    key: str
    name: str
    hint: str
    cannot: bool
    instead: tuple[str, str] | None
    """The key and name of that app."""
    steps: tuple[Shown, ...]


def read(text: str) -> Clients:
    """The parsed and checked data file; raises ValueError that says where it is wrong."""
    return Clients.model_validate(tomllib.loads(text))


def fill(clients: Clients, mcp_url: str, account_url: str) -> tuple[Instructions, ...]:
    """Every app's steps for this MCP URL; raises ValueError if filled-in text is not valid in its form."""
    names = {client.key: client.name for client in clients.client}
    public = is_public(mcp_url)

    def instructions(client: Client) -> Instructions:
        cannot = client.reach == "internet" and not public
        steps = tuple(_filled(client.key, step, mcp_url, account_url) for step in client.step)
        instead = (client.instead, names[client.instead]) if client.instead else None
        return Instructions(client.key, client.name, client.hint, cannot, instead, () if cannot else steps)

    return tuple(instructions(client) for client in clients.client)


def is_public(url: str) -> bool:
    """Whether a hosted app's servers can reach ``url``: https on port 443, and no private name or address.

    These are Claude's rules for connectors. Only `gatepost doctor` can tell whether a firewall blocks them.
    """
    parts = urlsplit(url)
    return parts.scheme == "https" and parts.port in (None, 443) and not is_private_host(parts.hostname or "")


def _filled(key: str, step: Step, mcp_url: str, account_url: str) -> Shown:
    carried = step.carries.replace("{url}", _in_quotes(mcp_url))
    link = (
        step.link.replace("{account}", account_url)
        .replace("{base64}", quote(base64.b64encode(carried.encode()), safe=""))
        .replace("{encoded}", quote(carried, safe=""))
    )
    form = step.form or "address"
    show = step.show.strip().replace("{url}", _WRITTEN[form](mcp_url))
    try:
        _READ[form](show)
        if carried:
            json.loads(carried)
    except ValueError as wrong:
        raise ValueError(f"{key}: {form}: {wrong}") from None
    if left := _LEFT_OVER.search(f"{show} {link} {carried}"):
        raise ValueError(f"{key}: nothing is known for {left.group()}")
    return Shown(step.say, show, step.form, link, step.label)


def _in_quotes(text: str) -> str:
    """``text`` escaped for use between the quotes of a JSON or TOML string."""
    return json.dumps(text)[1:-1]


_WRITTEN: dict[Form, Callable[[str], str]] = {
    "address": str,
    "shell": shlex.quote,  # zsh would read the brackets of http://[::1]:9001/mcp as a pattern
    "typed": str,
    "json": _in_quotes,
    "toml": _in_quotes,
}
_READ: dict[Form, Callable[[str], object]] = {
    "address": str,
    "shell": shlex.split,
    "typed": str,
    "json": json.loads,
    "toml": tomllib.loads,
}
