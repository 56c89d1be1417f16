"""Checks whether resource servers can get tokens for their backends, and whether any backend tool would be shown."""

from gatepost_idp.catalogue import Backend, Backends
from gatepost_idp.operate.doctor.finding import Check, Fault, Finding
from gatepost_idp.operate.doctor.inside.installation import Installation
from gatepost_idp.settings import SettingsError
from gatepost_idp.store import exchanges

BACKENDS_WRONG = Fault(
    "backends-wrong",
    "A new backend does not show, or the servers exit at start with a line about CATALOGUE.",
    "a [[backend]] with a name, a url and scopes of its [[resource]]; a running server keeps the last good ones",
    "CATALOGUE",
    'name = "crm"',
)
BACKENDS_WITHOUT_CREDENTIALS = Fault(
    "backends-without-credentials",
    "Every call to a backend's tools fails: the resource server gets no token for it.",
    "enabled credentials of a resource server for the [[resource]] that the backend is behind",
    "gatepost clients add, and INTROSPECTION_CLIENT_ID and INTROSPECTION_CLIENT_SECRET of the resource server",
    'gatepost clients add "The tools" --resource-server --resource https://mcp.example.com/mcp',
)
BACKEND_WITHOUT_RULES = Fault(
    "backend-without-rules",
    "A backend runs, but nobody sees any of its tools.",
    "the scope that each of its tools needs, by name or pattern",
    "CATALOGUE",
    '[backend.tools]: "find_*" = "crm:read"',
    "warning",
)
BACKEND_FOR_NOBODY = Fault(
    "backend-for-nobody",
    "A backend's tools are hidden from everyone who was not granted a scope.",
    "a scope with new_accounts = true, or grants to those who should use it",
    "gatepost users grant",
    "gatepost users grant alice@example.com crm:read",
    "information",
)


async def _backends(installation: Installation) -> list[Finding]:
    try:
        found = Backends(installation.settings, installation.catalogue).current()
    except SettingsError as wrong:
        return [BACKENDS_WRONG.seen(str(wrong))]
    return [*await _credentials(installation, found), *(f for one in found for f in _rules(installation, one))]


async def _credentials(installation: Installation, backends: tuple[Backend, ...]) -> list[Finding]:
    if not backends:
        return []
    able = await installation.read(exchanges.resources_with_credentials)
    return [
        BACKENDS_WITHOUT_CREDENTIALS.seen(
            f"nobody has credentials for {resource}, which has {', '.join(names)} behind it",
            example=f'gatepost clients add "The tools" --resource-server --resource {resource}',
        )
        for resource, names in _by_resource(backends).items()
        if resource not in able
    ]


def _by_resource(backends: tuple[Backend, ...]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in backends:
        found.setdefault(one.resource, []).append(one.name)
    return found


def _rules(installation: Installation, backend: Backend) -> list[Finding]:
    if not backend.tools:
        return [BACKEND_WITHOUT_RULES.seen(f"{backend.name} has no [backend.tools]")]
    resource = installation.catalogue.find(backend.resource)
    if resource is None or backend.scopes.intersection(resource.default_scopes):
        return []
    scopes = " ".join(sorted(backend.scopes))
    return [BACKEND_FOR_NOBODY.seen(f"{backend.name} needs {scopes}, which no new account holds")]


BACKENDS = Check(
    "backends",
    "Backends of the catalogue",
    _backends,
    (BACKENDS_WRONG, BACKENDS_WITHOUT_CREDENTIALS, BACKEND_WITHOUT_RULES, BACKEND_FOR_NOBODY),
    ("schema", "catalogue"),
)
