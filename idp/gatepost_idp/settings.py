"""The authorization server's settings, read once from the environment and validated, with one-line errors."""

import ipaddress
import os
import re
import secrets
import sys
from collections.abc import Iterable
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

import limits
from email_validator import EmailNotValidError, validate_email
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from gatepost_idp.crypto import SecretKeys

CommaList = tuple[str, ...]
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")

# Only forms that all servers, clients and proxies write identically, with nothing to escape or normalise.
_HOST = re.compile(r"([a-z0-9._-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?")
_ADDRESS = re.compile(r'[^\s<>(),;:"\\@]+@[^\s<>(),;:"\\@]+')
_PATH = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)*/?")

EXAMPLES = {
    "OAUTH_ISSUER": "https://auth.example.com",
    "MCP_RESOURCE_URL": "https://mcp.example.com/mcp",
    "ALLOWED_HOSTS": "auth.internal,10.0.0.5:9000",
    "TRUSTED_PROXIES": "10.0.0.0/8,fd00::/8",
    "DATABASE_URL": "postgresql+psycopg://gatepost:PASSWORD@db/gatepost",
    "REDIS_URL": "redis://valkey:6379/0",
    "LIMIT_ADDRESS": "1/30seconds;5/15minutes;20/day",
    "LIMIT_NETWORK": "30/15minutes",
    "LIMIT_TOTAL": "300/hour",
    "SMTP_HOST": "smtp.example.com",
    "SMTP_PORT": "587",
    "SMTP_SECURITY": "starttls",
    "MAIL_FROM": "gatepost@example.com",
    "SUPPORT_EMAIL": "help@example.com",
    "PRIVACY_URL": "https://example.com/privacy",
    "TERMS_URL": "https://example.com/terms",
    "SECRET_KEY": "the output of: openssl rand -base64 32",
    "SIGNUP": "open",
    "ACCENT": "#0b5fff",
    "METRICS_ADDRESS": "127.0.0.1:9100",
    "IDP_HOST": "127.0.0.1",
    "IDP_PORT": "9000",
    "WORKERS": "1",
}


class SettingsError(Exception):
    """One line for the operator: the setting, what is wrong with it, and what a valid value looks like."""


def _from_environment(names: Iterable[str]) -> dict[str, str]:
    """The values of those ``names`` that are set as ``NAME`` or in a file ``NAME_FILE``; raises SettingsError."""
    found = {name: _from_file(name.upper()) or os.environ.get(name.upper()) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _from_file(name: str) -> str | None:
    """The content of the file ``NAME_FILE`` without trailing line breaks; None if it is not set."""
    path = os.environ.get(f"{name}_FILE")
    if not path:
        return None
    if os.environ.get(name):
        raise SettingsError(f"{name}_FILE: {name} is set as well; keep one of the two.")
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as problem:
        reason = getattr(problem, "strerror", None) or "it is not UTF-8 text"
        raise SettingsError(f"{name}_FILE: the file {path} cannot be read ({reason}).") from None


class Settings(BaseModel):
    """The validated settings. URLs stay strings, so that they are sent exactly as the operator wrote them."""

    model_config = ConfigDict(hide_input_in_errors=True, extra="ignore", frozen=True)

    oauth_issuer: str = "http://localhost:9000"
    mcp_resource_url: str = "http://localhost:9001/mcp"
    allowed_hosts: CommaList = ()
    trusted_proxies: CommaList = ()
    database_url: str = Field(default="sqlite:///var/gatepost.db", repr=False)
    redis_url: str = Field(default="", repr=False)
    limit_address: str = "1/30seconds;5/15minutes;20/day"
    limit_network: str = "30/15minutes"
    limit_total: str = "300/hour"
    smtp_host: str = ""
    smtp_port: int = Field(default=587, ge=1, le=65535)
    smtp_username: str = ""
    smtp_password: str = Field(default="", repr=False)
    smtp_security: Literal["implicit", "starttls", "none"] = "starttls"
    mail_from: str = ""
    secret_key: CommaList = Field(default=(), repr=False)
    signup: Literal["open", "domains", "invite", "closed"] = "open"
    signup_domains: CommaList = ()
    email_allow: CommaList = ()
    email_deny: CommaList = ()
    dkim_selector: str = ""
    consent_days: int = Field(default=30, ge=0, le=365)
    access_token_minutes: int = Field(default=15, ge=1, le=60 * 24)
    refresh_token_days: int = Field(default=30, ge=1, le=365)
    refresh_grace_seconds: int = Field(default=30, ge=0, le=300)
    sign_in_minutes: int = Field(default=10, ge=1, le=30)
    audit_days: int = Field(default=365, ge=0, le=3650)
    account_idle_days: int = Field(default=0, ge=0, le=3650)
    catalogue: str = ""
    service_name: str = Field(default="Gatepost demo", min_length=1, max_length=60)
    support_email: str = ""
    idp_host: CommaList = Field(default=("127.0.0.1",), min_length=1)
    idp_port: int = Field(default=9000, ge=0, le=65535)
    workers: int = Field(default=1, ge=1, le=64)
    privacy_url: str = ""
    terms_url: str = ""
    accent: str = ""
    metrics_address: str = "127.0.0.1:9100"
    log_format: Literal["", "text", "json"] = ""
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    def __init__(self, **given: Any) -> None:
        """Reads the environment; arguments take precedence, for tests and ``demo``. Raises ValidationError."""
        super().__init__(**{**_from_environment(type(self).model_fields), **given})

    @model_validator(mode="before")
    @classmethod
    def _empty_is_unset(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Treats empty values as unset, since compose files pass them on; only METRICS_ADDRESS may be empty."""
        return {name: value for name, value in values.items() if value != "" or name == "metrics_address"}

    @field_validator(
        "allowed_hosts",
        "trusted_proxies",
        "secret_key",
        "signup_domains",
        "email_allow",
        "email_deny",
        "idp_host",
        mode="before",
    )
    @classmethod
    def _split_at_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("oauth_issuer", "mcp_resource_url")
    @classmethod
    def _is_public_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or any(c.isspace() for c in value):
            raise ValueError("it is not a URL that begins with https://")
        _ = parts.port  # raises ValueError for an invalid port
        if parts.query or parts.fragment or "@" in parts.netloc or "?" in value or "#" in value:
            raise ValueError("it has a user, a query or a fragment, which this URL may not have")
        if _HOST.fullmatch(parts.netloc) is None or _PATH.fullmatch(parts.path) is None:
            raise ValueError(
                "it is not in its plain form: lower-case host, ASCII path, no double slash, no dot segment"
            )
        if parts.scheme == "http" and not is_loopback(value):
            raise ValueError("plain http is accepted only for localhost, 127.0.0.1 and [::1]; use https")
        return value

    @field_validator("oauth_issuer")
    @classmethod
    def _issuer_ends_plainly(cls, value: str) -> str:
        if value.endswith("/"):
            raise ValueError("it ends in a slash; clients compare the issuer byte for byte, so write it without")
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _are_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for host in value:
            if _HOST.fullmatch(host.lower()) is None:
                raise ValueError(f"{host!r} is not HOST or HOST:PORT, without scheme and path")
        return value

    @field_validator("mail_from", "support_email")
    @classmethod
    def _is_mailbox(cls, value: str) -> str:
        if value and _ADDRESS.fullmatch(value) is None:
            raise ValueError("it is not a plain address; the name shown in mail is SERVICE_NAME")
        return value

    @field_validator("privacy_url", "terms_url")
    @classmethod
    def _can_be_linked(cls, value: str) -> str:
        """Refuses other schemes, such as javascript:, which would run when the link is followed."""
        parts = urlsplit(value)
        if value and (parts.scheme not in ("http", "https") or not parts.hostname or any(c.isspace() for c in value)):
            raise ValueError("it is not a URL that begins with https://")
        return value

    @field_validator("log_format", "log_level", mode="before")
    @classmethod
    def _in_either_case(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            try:
                ipaddress.ip_network(network, strict=False)
            except ValueError:
                raise ValueError(f"{network!r} is not an address or a CIDR") from None
        return value

    @field_validator("limit_address", "limit_network", "limit_total")
    @classmethod
    def _is_limit(cls, value: str) -> str:
        try:
            limits.parse_many(value)
        except ValueError:
            raise ValueError(f"{value!r} is not in the notation COUNT/PERIOD;COUNT/PERIOD") from None
        return value

    @field_validator("secret_key")
    @classmethod
    def _is_long_enough(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(len(key) < 32 for key in value):
            raise ValueError("each key needs at least 32 characters")
        return value

    @field_validator("accent")
    @classmethod
    def _is_readable(cls, value: str) -> str:
        if value and contrast_with_white(value) < 4.5:
            raise ValueError(f"white text on {value} has a contrast below 4.5:1; choose a darker colour")
        return value

    @field_validator("signup_domains", "email_allow", "email_deny")
    @classmethod
    def _in_lower_case(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_as_it_is_compared(entry) for entry in value)

    @field_validator("metrics_address")
    @classmethod
    def _is_address(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if value and not (host and port.isdigit() and int(port) < 65536):
            raise ValueError(f"{value!r} is not HOST:PORT")
        return value

    @field_validator("database_url")
    @classmethod
    def _is_database(cls, value: str) -> str:
        if not value.startswith(("sqlite:///", "postgresql+psycopg://")):
            raise ValueError("it must begin with sqlite:/// or postgresql+psycopg://")
        return value

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: str) -> str:
        if value and not value.startswith(("redis://", "rediss://", "valkey://", "valkeys://", "unix://")):
            raise ValueError("it must begin with redis:// or rediss:// (or valkey://, valkeys://, unix://)")
        try:
            _ = urlsplit(value).port
        except ValueError:  # its text might contain the password
            raise ValueError("its port is not a number; write / and # in the password as %2F and %23") from None
        if value and find_spec("redis") is None:
            raise ValueError("the package redis is missing: pip install 'gatepost[redis]'")
        return value

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        for name, problem in self._misfits():
            raise SettingsError(f"{name}: {problem}")
        return self

    def _misfits(self) -> list[tuple[str, str]]:
        """Contradictions between settings, as pairs of the setting to change and the problem."""
        found = []
        if is_loopback(self.oauth_issuer) != is_loopback(self.mcp_resource_url):
            found.append(
                (
                    "OAUTH_ISSUER",
                    f"{self.oauth_issuer} and MCP_RESOURCE_URL {self.mcp_resource_url} must both be public or both be "
                    "on this machine; example: https://auth.example.com and https://mcp.example.com/mcp.",
                )
            )
        if self.workers > 1 and self.is_sqlite:
            found.append(("WORKERS", "SQLite takes one worker; set DATABASE_URL to PostgreSQL, or WORKERS=1."))
        if not self.secret_key and not self.is_sqlite:
            found.append(("SECRET_KEY", f"is required with PostgreSQL; example: {EXAMPLES['SECRET_KEY']}."))
        if self.smtp_security == "none" and self.smtp_host:
            if self.smtp_username:
                found.append(("SMTP_SECURITY", "none would send the password in the clear; set starttls or implicit."))
            if not is_private_host(self.smtp_host):
                found.append(
                    ("SMTP_SECURITY", "none is accepted only for loopback or a private network; set starttls.")
                )
        if self.smtp_host and not self.mail_from:
            found.append(("MAIL_FROM", f"is required with SMTP_HOST; example: {EXAMPLES['MAIL_FROM']}."))
        if self.smtp_username and not self.smtp_password:
            found.append(
                ("SMTP_PASSWORD", "is required with SMTP_USERNAME; unset both if the mail server needs no sign-in.")
            )
        if self.signup == "domains" and not self.signup_domains:
            found.append(("SIGNUP_DOMAINS", "is required with SIGNUP=domains; example: example.com,example.org."))
        return found

    @cached_property
    def is_sqlite(self) -> bool:
        """Whether DATABASE_URL is SQLite."""
        return self.database_url.startswith("sqlite")

    @cached_property
    def root(self) -> str:
        """The issuer's path, empty or like ``/auth``; all paths of the server are below it."""
        return urlsplit(self.oauth_issuer).path

    @cached_property
    def is_local(self) -> bool:
        """Whether the issuer is on this machine: plain http, cookies without Secure, hints on error pages."""
        return is_loopback(self.oauth_issuer)

    @cached_property
    def sqlite_path(self) -> Path:
        """The SQLite database file."""
        return Path(self.database_url.removeprefix("sqlite:///"))

    @cached_property
    def secret_keys(self) -> SecretKeys:
        """SECRET_KEY, or with SQLite the key file beside the database, created on the first start with mode 0600.

        Raises SettingsError if the file is readable by others or too short.
        """
        if self.secret_key:
            return SecretKeys(self.secret_key)
        return SecretKeys((_kept_secret(self.secret_key_path),))

    @property
    def kept_secret_keys(self) -> SecretKeys | None:
        """Like ``secret_keys``, but None instead of creating the key file."""
        return self.secret_keys if self.secret_key or self.secret_key_path.exists() else None

    @cached_property
    def secret_key_path(self) -> Path:
        """The key file beside the SQLite database."""
        return self.sqlite_path.parent / "secret_key"


def _as_it_is_compared(entry: str) -> str:
    """An address, domain or ``*.domain`` in lower case, with its domain as A-labels (RFC 5890); raises ValueError."""
    front, mark, domain = ("", "*.", entry[2:]) if entry.startswith("*.") else entry.rpartition("@")
    try:
        ascii_domain = validate_email(f"x@{domain}", check_deliverability=False, test_environment=True).ascii_domain
    except EmailNotValidError:
        raise ValueError(f"{entry!r} is neither an address nor a domain") from None
    return f"{front}{mark}{ascii_domain}".lower()


def _kept_secret(path: Path) -> str:
    """The secret in ``path``, created if missing; ``os.link`` fails if another process has created it first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")  # in a container the pid is always the same
    if not path.exists():
        handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_urlsafe(32))
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    if path.stat().st_mode & 0o077:
        raise SettingsError(f"SECRET_KEY: others can read {path}; to fix it: chmod 600 {path}")
    kept = path.read_text().strip()
    if len(kept) < 32:
        raise SettingsError(f"SECRET_KEY: {path} holds no key of at least 32 characters; remove the file.")
    return kept


def is_loopback(url: str) -> bool:
    """Whether the host of ``url`` is this machine."""
    return urlsplit(url).hostname in LOOPBACK_NAMES


def is_private_host(host: str) -> bool:
    """Whether ``host`` is loopback, a private address, a name without dots as in container networks, or .internal
    or .local."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_private
    except ValueError:
        return host == "localhost" or "." not in host or host.endswith((".internal", ".local"))


def contrast_with_white(colour: str) -> float:
    """WCAG 2 contrast ratio of ``#rrggbb`` against white; raises ValueError for another format."""
    if len(colour) != 7 or not colour.startswith("#"):
        raise ValueError(f"{colour!r} is not a colour like #0b5fff")
    try:
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    except ValueError:
        raise ValueError(f"{colour!r} is not a colour like #0b5fff") from None
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return 1.05 / (luminance + 0.05)


def secret_files() -> dict[str, Path]:
    """The files of secret settings of both servers, by variable name (``NAME_FILE``)."""
    secret = ("SECRET_KEY", "SMTP_PASSWORD", "DATABASE_URL", "REDIS_URL", "INTROSPECTION_CLIENT_SECRET")
    return {f"{name}_FILE": Path(os.environ[f"{name}_FILE"]) for name in secret if os.environ.get(f"{name}_FILE")}


def load(**given: Any) -> Settings:
    """The settings from the environment; raises SettingsError with one line that never contains a secret."""
    try:
        return Settings(**given)
    except ValidationError as invalid:
        first = invalid.errors()[0]
        name = str(first["loc"][0]).upper() if first["loc"] else "settings"
        problem = first["msg"].removeprefix("Value error, ")
        example = f" Example: {name}={EXAMPLES[name]}" if name in EXAMPLES else ""
        raise SettingsError(f"{name}: {problem}.{example}") from None


def load_or_exit(**given: Any) -> Settings:
    """Like ``load``, but prints the error and exits with code 2."""
    try:
        return load(**given)
    except SettingsError as wrong:
        print(wrong, file=sys.stderr)  # noqa: T201 (for the operator, before logging is set up)
        raise SystemExit(2) from None
