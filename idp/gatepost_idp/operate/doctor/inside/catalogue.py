"""Checks whether the catalogue loads, contains the resource people paste, and gives new accounts any scope."""

from gatepost_idp.operate.doctor.finding import Check, Fault, Finding
from gatepost_idp.operate.doctor.inside.installation import Installation
from gatepost_idp.settings import SettingsError

CATALOGUE_WRONG = Fault(
    "catalogue-wrong",
    "Both servers exit at start with a line about CATALOGUE.",
    "a TOML file as the documentation describes it",
    "CATALOGUE",
    "CATALOGUE=/etc/gatepost/catalogue.toml",
)
CATALOGUE_LACKS_RESOURCE = Fault(
    "catalogue-lacks-resource",
    "The client comes back with `invalid_target`.",
    "a [[resource]] whose url is MCP_RESOURCE_URL, byte for byte, or that has no url",
    "CATALOGUE",
    'url = "https://mcp.example.com/mcp"',
)
CATALOGUE_GIVES_NOTHING = Fault(
    "catalogue-gives-nothing",
    "Connected but no tools: new accounts hold no scope.",
    "a scope with new_accounts = true, unless you grant each person theirs",
    "CATALOGUE",
    "new_accounts = true",
    "warning",
)


async def _catalogue(installation: Installation) -> list[Finding]:
    try:
        catalogue = installation.catalogue
    except SettingsError as wrong:
        return [CATALOGUE_WRONG.seen(str(wrong))]
    url = installation.settings.mcp_resource_url
    own = next((resource for resource in catalogue.resource if resource.url == url), None)
    if own is None:
        known = ", ".join(resource.url for resource in catalogue.resource)
        return [CATALOGUE_LACKS_RESOURCE.seen(f"MCP_RESOURCE_URL is {url}, the file has {known}", example=_line(url))]
    if own.scope and not own.default_scopes:
        return [CATALOGUE_GIVES_NOTHING.seen(f"none of {' '.join(own.scope_names)} is for new accounts")]
    return []


def _line(url: str) -> str:
    return f'url = "{url}"'


CATALOGUE = Check(
    "catalogue",
    "Catalogue of scopes",
    _catalogue,
    (CATALOGUE_WRONG, CATALOGUE_LACKS_RESOURCE, CATALOGUE_GIVES_NOTHING),
    ("settings",),
)
