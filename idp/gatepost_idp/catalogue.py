"""The catalogue: which resources there are, and which scopes each has."""

import tomllib
from collections.abc import Collection
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gatepost_idp.protocol import names_the_same_resource
from gatepost_idp.settings import Settings, SettingsError

_PACKAGED = Path(__file__).with_name("catalogue.toml")


class Scope(BaseModel):
    """One thing that a token may allow, in words for people."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]+$")
    title: str
    description: str = ""
    new_accounts: bool = False


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
        """What a request gets that names none, and what a new account holds."""
        return tuple(scope.name for scope in self.scope if scope.new_accounts)


class Catalogue(BaseModel):
    """Every resource; the first one is the default."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    resource: tuple[Resource, ...] = Field(min_length=1)

    @property
    def default(self) -> Resource:
        """The resource of a request that names none."""
        return self.resource[0]

    def find(self, url: str) -> Resource | None:
        """The resource that the indicator ``url`` names."""
        return next((resource for resource in self.resource if names_the_same_resource(resource.url, url)), None)

    def name_of(self, url: str) -> str:
        """The name of a resource in words for people; one that is not here any more is its URL."""
        resource = self.find(url)
        return resource.name if resource else url

    def titles(self, url: str, names: Collection[str]) -> list[str]:
        """What scopes allow at a resource, in words for people and in the catalogue's order."""
        resource = self.find(url)
        return [scope.title for scope in (resource.scope if resource else ()) if scope.name in names]

    @property
    def scope_names(self) -> tuple[str, ...]:
        """The scopes of every resource."""
        return tuple(dict.fromkeys(name for resource in self.resource for name in resource.scope_names))

    @property
    def entitlements_of_new_accounts(self) -> list[tuple[str, str]]:
        """Pairs of resource and scope."""
        return [(resource.url, name) for resource in self.resource for name in resource.default_scopes]


def load(settings: Settings) -> Catalogue:
    """The catalogue that CATALOGUE names, or the demo's; raises SettingsError with one line."""
    path = Path(settings.catalogue) if settings.catalogue else _PACKAGED
    try:
        catalogue = Catalogue.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as problem:
        raise SettingsError(f"CATALOGUE: {path} cannot be read ({problem.strerror}).") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise SettingsError(f"CATALOGUE: {path} is not TOML: {problem}.") from None
    except ValidationError as invalid:
        first = invalid.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"CATALOGUE: {path}: {place}: {first['msg']}.") from None
    placed = tuple(r if r.url else r.model_copy(update={"url": settings.mcp_resource_url}) for r in catalogue.resource)
    return Catalogue(resource=placed)
