"""The resource server's settings: read once from the environment and checked, one line per wrong value."""

import ipaddress
import os
import re
import sys
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from gatepost_resource.urls import below, hostname, is_loopback

CommaList = tuple[str, ...]
LISTS = ("allowed_origins", "allowed_hosts", "trusted_proxies", "resource_host")

EXAMPLES = {
    "OAUTH_ISSUER": "https://auth.example.com",
    "MCP_RESOURCE_URL": "https://mcp.example.com/mcp",
    "ALLOWED_ORIGINS": "https://claude.ai,https://claude.com",
    "ALLOWED_HOSTS": "mcp.internal,10.0.0.5:9001",
    "TRUSTED_PROXIES": "10.0.0.0/8,fd00::/8",
    "INTROSPECTION_CLIENT_ID": "what `gatepost clients add NAME --resource-server` prints as client_id",
    "INTROSPECTION_CLIENT_SECRET": "what `gatepost clients add NAME --resource-server` prints once",
    "CATALOGUE": "/etc/gatepost/catalogue.toml",
    "RESOURCE_HOST": "127.0.0.1,::1",
    "RESOURCE_PORT": "9001",
    "WORKERS": "1",
    "DEMO_TOOLS": "false",
    "TOOL_CHANGES": "block",
    "TOOL_APPROVALS": "/var/lib/gatepost/approved-tools.json",
    "METRICS_ADDRESS": "127.0.0.1:9101",
    "LOG_FORMAT": "json",
    "LOG_LEVEL": "info",
    "ACCESS_REQUEST_URL": "https://auth.example.com/account/access",
    "SUPPORT_EMAIL": "help@example.com",
}

# Only what both servers, every client and every proxy spell alike: nothing that one would escape or normalise.
_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*/?")
_ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?")
_HOST = re.compile(r"([a-z0-9._-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?")


class SettingsError(Exception):
    """One line for each wrong setting: its name, what is wrong, what a right value looks like."""


def explain(name: str, problem: str) -> str:
    """The line an operator reads; it never contains the value, which may be a secret."""
    example = EXAMPLES.get(name)
    return f"{name}: {problem}; example: {example}" if example else f"{name}: {problem}"


def _read_file(name: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as problem:
        raise SettingsError(f"{name}_FILE: the file cannot be read ({problem.strerror}): {path}") from None
    except ValueError:
        raise SettingsError(f"{name}_FILE: the file is not UTF-8 text: {path}") from None


def _from_environment(names: Iterable[str]) -> dict[str, str]:
    """The text of each setting, from ``NAME`` or the file that ``NAME_FILE`` names; raises SettingsError."""
    found = {name: _text(name) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _text(setting: str) -> str | None:
    """The text of one setting, None if unset; empty counts as set only where it can mean an empty list, or off."""
    name = setting.upper()
    value, path = os.environ.get(name), os.environ.get(f"{name}_FILE")
    if value and path:
        raise SettingsError(f"{name}: is set together with {name}_FILE; keep one of the two")
    if path:
        value = _read_file(name, path)
    return value if value or setting in LISTS or setting == "metrics_address" else None


def check_url(url: str) -> str:
    """The URL unchanged, if it can identify a server; raises ValueError saying what is wrong."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("is not an http or https URL")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError("must be https; only a loopback address may be plain http")
    if parts.username is not None or "?" in url or "#" in url:
        raise ValueError("must have no user name, query or fragment")
    if not _HOST.fullmatch(parts.netloc) or not _PATH.fullmatch(parts.path):
        raise ValueError("must have a lower-case host, an ASCII path and no double slashes")
    if any(segment in (".", "..") for segment in parts.path.split("/")):
        raise ValueError("must have no dot segments")
    if parts.port == 0:
        raise ValueError("has no usable port")
    return url


def _each(values: tuple[str, ...], pattern: re.Pattern[str], problem: str) -> tuple[str, ...]:
    lowered = tuple(value.lower() for value in values)
    if not all(pattern.fullmatch(value) for value in lowered):
        raise ValueError(problem)
    return lowered


class Settings(BaseModel):
    """The operator's settings. URLs stay as they were written: they are compared byte for byte."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True, frozen=True)

    oauth_issuer: str = "http://localhost:9000"
    mcp_resource_url: str = "http://localhost:9001/mcp"
    allowed_origins: CommaList = ("https://claude.ai", "https://claude.com")
    allowed_hosts: CommaList = ()
    trusted_proxies: CommaList = ()
    introspection_client_id: str | None = None
    introspection_client_secret: SecretStr | None = None
    catalogue: Path | None = None
    resource_host: CommaList = ("127.0.0.1",)
    resource_port: int = Field(default=9001, ge=1, le=65535)
    workers: int = Field(default=1, ge=1, le=256)
    demo_tools: bool = True
    tool_changes: Literal["report", "block"] = "report"
    tool_approvals: Path = Path("var/approved-tools.json")
    metrics_address: str = "127.0.0.1:9101"
    log_format: Literal["text", "json"] | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    access_request_url: str | None = None
    service_name: str = "Gatepost demo"
    support_email: str | None = None

    def __init__(self, **given: Any) -> None:
        """``given`` wins over the environment. Raises ValidationError, and SettingsError for a bad ``NAME_FILE``."""
        super().__init__(**{**_from_environment(type(self).model_fields), **given})

    @field_validator(*LISTS, mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(part.strip() for part in value.split(",") if part.strip())

    @field_validator("log_format", "log_level", "tool_changes", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("oauth_issuer", "mcp_resource_url")
    @classmethod
    def _identifier(cls, value: str) -> str:
        return check_url(value)

    @field_validator("access_request_url")
    @classmethod
    def _page(cls, value: str | None) -> str | None:
        if value is not None:
            check_url(value.partition("?")[0])
        return value

    @field_validator("allowed_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _each(value, _ORIGIN, "each must be an origin: scheme and host, no path, no trailing slash")

    @field_validator("allowed_hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _each(value, _HOST, "each must be a host name or address, with its port, if it has one")

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(str(ipaddress.ip_network(network, strict=False)) for network in value)
        except ValueError:
            raise ValueError("each must be an IP address or network in CIDR notation") from None

    @field_validator("metrics_address")
    @classmethod
    def _address(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if value and not (host and port.isdecimal() and int(port) < 65536):
            raise ValueError("is not HOST:PORT")
        return value

    @field_validator("resource_host")
    @classmethod
    def _somewhere(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("names no address to listen on")
        return value

    @model_validator(mode="after")
    def _together(self) -> Self:
        local = [is_loopback(hostname(url)) for url in (self.oauth_issuer, self.mcp_resource_url)]
        if local[0] != local[1]:
            here, there = ("OAUTH_ISSUER", "MCP_RESOURCE_URL")[:: 1 if local[0] else -1]
            raise ValueError(explain(here, f"is on this machine, {there} is public; no client reaches both"))
        if (self.introspection_client_id is None) != (self.introspection_client_secret is None):
            missing, there = ("ID", "SECRET") if self.introspection_client_id is None else ("SECRET", "ID")
            problem = f"is not set, but INTROSPECTION_CLIENT_{there} is; set both or neither"
            raise ValueError(explain(f"INTROSPECTION_CLIENT_{missing}", problem))
        return self

    @cached_property
    def access_page(self) -> str:
        """Where a person can widen a grant: ACCESS_REQUEST_URL, or else the issuer's page."""
        return self.access_request_url or below(self.oauth_issuer, "/account/access")

    @cached_property
    def introspection_credentials(self) -> tuple[str, str] | None:
        """INTROSPECTION_CLIENT_ID and INTROSPECTION_CLIENT_SECRET; None if they are not set."""
        if self.introspection_client_id is None or self.introspection_client_secret is None:
            return None
        return self.introspection_client_id, self.introspection_client_secret.get_secret_value()

    @cached_property
    def log_style(self) -> Literal["text", "json"]:
        """LOG_FORMAT; if unset, text on a terminal and JSON elsewhere."""
        return self.log_format or ("text" if sys.stderr.isatty() else "json")


def load() -> Settings:
    """The settings of this process; raises SettingsError with one line for each wrong one."""
    try:
        return Settings()
    except ValidationError as problem:
        lines = [_line(error["loc"], error["msg"]) for error in problem.errors(include_input=False)]
        raise SettingsError("\n".join(lines)) from None


def _line(where: tuple[int | str, ...], message: str) -> str:
    text = message.removeprefix("Value error, ")
    # A rule about two settings already names the one to change.
    return explain(str(where[0]).upper(), text) if where else text
