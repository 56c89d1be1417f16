"""The catalogue: the resources, the scopes of each, and the backends behind it, read from a TOML file."""

import asyncio
import re
import tomllib
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from gatepost_idp.protocol import names_the_same_resource
from gatepost_idp.settings import Settings, SettingsError, is_private_host

log = structlog.get_logger("gatepost.catalogue")

LOOK_SECONDS = 1.0
M = TypeVar("M", bound=BaseModel)
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # RFC 6749 section 3.3
_WORDS = {"extra_forbidden": "there is no such key", "missing": "it is missing"}
_PACKAGED = Path(__file__).with_name("catalogue.toml")


class Scope(BaseModel):
    """A scope, with its title and description for people; ``new_accounts``: held by new accounts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    description: str = ""
    new_accounts: bool = False

    @field_validator("name")
    @classmethod
    def _is_a_scope_token(cls, name: str) -> str:
        if _SCOPE.fullmatch(name) is None:
            raise ValueError("a scope's `name` must be ASCII without spaces, quotes and backslashes")
        return name


class Resource(BaseModel):
    """A protected resource (RFC 9728) and its scopes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = ""
    name: str
    scope: tuple[Scope, ...] = ()

    @property
    def scope_names(self) -> tuple[str, ...]:
        """All of its scopes, in the catalogue's order."""
        return tuple(scope.name for scope in self.scope)

    @property
    def default_scopes(self) -> tuple[str, ...]:
        """The scopes of a request that names none, which are also those of a new account."""
        return tuple(scope.name for scope in self.scope if scope.new_accounts)


class Backend(BaseModel):
    """An MCP server behind a resource; its URL is the audience of tokens for it (RFC 8707 section 2).

    ``tools`` maps names or patterns of tools to the scope that each needs; ``timeout`` is in seconds. Tools are shown
    as ``<name>_<tool>``; since names have no underscore, two backends cannot claim the same tool.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")
    url: str
    resource: str = ""
    timeout: float = Field(default=30, gt=0, le=600)
    tools: dict[str, str] = {}

    @property
    def scopes(self) -> frozenset[str]:
        """The scopes that its rules name; tokens for it have no others."""
        return frozenset(self.tools.values())

    @field_validator("url")
    @classmethod
    def _can_be_an_audience(cls, url: str) -> str:
        """Refuses invalid URLs, and plain http outside private networks, since tokens are sent there."""
        parts = urlsplit(url)
        is_plain = url.isascii() and url.isprintable() and " " not in url
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0 or not is_plain:
            raise ValueError("it is not a URL that begins with https://")
        if "@" in parts.netloc or "#" in url or "?" in url:
            raise ValueError("it has a user, a query or a fragment, which an audience may not have")
        if parts.scheme == "http" and not is_private_host(parts.hostname):
            raise ValueError("plain http is accepted only for this machine and private networks; use https")
        return url


class Catalogue(BaseModel):
    """Every resource; the first one is the default."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    resource: tuple[Resource, ...] = Field(min_length=1)

    @property
    def default(self) -> Resource:
        """The resource of a request that names none."""
        return self.resource[0]

    def find(self, url: str) -> Resource | None:
        """The resource that the indicator ``url`` names, or None."""
        return next((resource for resource in self.resource if names_the_same_resource(resource.url, url)), None)

    def name_of(self, url: str) -> str:
        """The display name of a resource; its URL if it is no longer in the catalogue."""
        resource = self.find(url)
        return resource.name if resource else url

    def titles(self, url: str, names: Collection[str]) -> list[str]:
        """The titles of scopes at a resource, in the catalogue's order; unknown scopes are left out."""
        resource = self.find(url)
        return [scope.title for scope in (resource.scope if resource else ()) if scope.name in names]

    @property
    def scope_names(self) -> tuple[str, ...]:
        """The distinct scopes of all resources."""
        return tuple(dict.fromkeys(name for resource in self.resource for name in resource.scope_names))

    @property
    def entitlements_of_new_accounts(self) -> list[tuple[str, str]]:
        """What a new account holds: pairs of resource and scope."""
        return [(resource.url, name) for resource in self.resource for name in resource.default_scopes]


def load(settings: Settings) -> Catalogue:
    """The catalogue in the file CATALOGUE, or the demo's; raises SettingsError with one line."""
    path = _path(settings)
    catalogue = _checked(Catalogue, _document(path), path)
    placed = tuple(r if r.url else r.model_copy(update={"url": settings.mcp_resource_url}) for r in catalogue.resource)
    return Catalogue(resource=placed)


class Backends:
    """The current backends: the file is read again when it changes; if it is wrong, the last valid ones stay.

    Resources and scopes are not reread: they stay as they were at the start, and backends have to match them.
    """

    def __init__(self, settings: Settings, catalogue: Catalogue) -> None:
        """Raises SettingsError with one line if a backend is wrong."""
        self.path = _path(settings)
        self._catalogue = catalogue
        self._state = self._stat()
        self._backends = _backends(self.path, catalogue)

    def current(self) -> tuple[Backend, ...]:
        """Every backend, in the file's order; each ``resource`` is written exactly as in the catalogue."""
        return self._backends

    async def work(self) -> None:
        """Checks the file once, in a thread, so that a hanging disk does not block the event loop."""
        await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Reads the file if it has changed since the last call; an error in it is logged once."""
        state = self._stat()
        if state == self._state:
            return
        self._state = state
        try:
            self._backends = _backends(self.path, self._catalogue)
            log.info("backends_read", backends=len(self._backends))
        except SettingsError as wrong:
            log.error("backends_kept", reason=str(wrong), setting="CATALOGUE")  # noqa: TRY400 (the reason says it)

    def find(self, url: str, resource: str) -> Backend | None:
        """The backend with exactly this ``url`` behind ``resource``, or None."""
        return next((one for one in self.current() if (one.url, one.resource) == (url, resource)), None)

    def _stat(self) -> tuple[int, int, int]:
        """Inode, size and modification time, by which a change is noticed; zeros if there is no file."""
        try:
            found = self.path.stat()
        except OSError:
            return 0, 0, 0
        return found.st_ino, found.st_size, found.st_mtime_ns


class _Backends(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    backend: tuple[Backend, ...] = ()


def _backends(path: Path, catalogue: Catalogue) -> tuple[Backend, ...]:
    """The backends in the file, checked against the catalogue; raises SettingsError with one line."""
    found = _checked(_Backends, _document(path), path).backend
    placed = tuple(_placed(backend, catalogue) for backend in found)
    for problem in (*_repeats(placed), *(p for one in placed for p in _misfits(one, catalogue))):
        raise SettingsError(f"CATALOGUE: {path}: {problem}.")
    return placed


def _placed(backend: Backend, catalogue: Catalogue) -> Backend:
    """The backend with its resource as written in the catalogue; the default resource if it names none."""
    resource = catalogue.find(backend.resource) if backend.resource else catalogue.default
    return backend.model_copy(update={"resource": resource.url}) if resource else backend


def _repeats(backends: tuple[Backend, ...]) -> Iterator[str]:
    for name, times in Counter(backend.name for backend in backends).items():
        if times > 1:
            yield f"{times} backends have the name {name}"
    for (url, resource), times in Counter((backend.url, backend.resource) for backend in backends).items():
        if times > 1:
            yield f"{times} backends of {resource} have the url {url}"


def _misfits(backend: Backend, catalogue: Catalogue) -> Iterator[str]:
    resource = catalogue.find(backend.resource)
    if resource is None:
        yield f"backend {backend.name}: there is no [[resource]] with the url {backend.resource}"
        return
    if catalogue.find(backend.url) is not None:
        # A token for it would be valid at that resource, so an exchange would bypass consent.
        yield f"backend {backend.name}: its url is that of a [[resource]]"
    if unknown := sorted(backend.scopes.difference(resource.scope_names)):
        yield f"backend {backend.name}: {resource.url} has no scope {unknown[0]} (in the file of the last start)"


def _path(settings: Settings) -> Path:
    return Path(settings.catalogue) if settings.catalogue else _PACKAGED


def _document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise SettingsError(f"CATALOGUE: {path} cannot be read ({problem.strerror}).") from None
    except ValueError as problem:  # invalid UTF-8, invalid TOML, or a number of 5,000 digits
        raise SettingsError(f"CATALOGUE: {path} is not TOML: {problem}.") from None
    except RecursionError:
        raise SettingsError(f"CATALOGUE: {path} is not TOML: too deep.") from None


def _checked(model: type[M], document: dict[str, Any], path: Path) -> M:
    try:
        return model.model_validate(document)
    except ValidationError as invalid:
        first = invalid.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        words = _WORDS.get(first["type"]) or first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"CATALOGUE: {path}: {place}: {words}.") from None
