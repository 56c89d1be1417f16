"""Checks whether a person may sign in, and which scopes they lack for which tools."""

from functools import partial

from gatepost_idp.operate.doctor.finding import Check, Fault, Finding
from gatepost_idp.operate.doctor.inside.installation import Installation
from gatepost_idp.signin import addresses
from gatepost_idp.store import accounts
from gatepost_idp.transaction import Transaction

ACCOUNT_UNKNOWN = Fault(
    "account-unknown",
    "A person says that they are connected, but no account has their address.",
    "an account, once they have signed in; a different spelling is a different mailbox",
    "gatepost users list",
    "gatepost users invite alice@example.com",
    "warning",
)
ACCOUNT_DISABLED = Fault(
    "account-disabled",
    "A person signs in and is turned away.",
    "an account that is not disabled",
    "gatepost users enable",
    "gatepost users enable alice@example.com",
)
ACCOUNT_WITHOUT_SCOPES = Fault(
    "account-without-scopes",
    "Connected but no tools: the account holds none of the scopes.",
    "at least one scope of the resource",
    "gatepost users grant",
    "gatepost users grant alice@example.com demo:read",
)
ACCOUNT_LACKS_SCOPES = Fault(
    "account-lacks-scopes",
    "Connected, but some tools are missing.",
    "the scope that each tool needs, if this person should have it",
    "gatepost users grant",
    "gatepost users grant alice@example.com demo:ops",
    "information",
)


async def _account(installation: Installation) -> list[Finding]:
    if not installation.email:
        return []
    address = addresses.parse(installation.email)
    key = address.key if address else installation.email.lower()
    resource = installation.catalogue.find(installation.settings.mcp_resource_url) or installation.catalogue.default
    held = await installation.read(partial(_held, key=key, resource=resource.url))
    if held is None:
        return [ACCOUNT_UNKNOWN.seen(f"nobody has signed up as {key}", example=f"gatepost users invite {key}")]
    if held == _DISABLED:
        return [ACCOUNT_DISABLED.seen(f"{key} is disabled", example=f"gatepost users enable {key}")]
    lacking = [name for name in resource.scope_names if name not in held]
    fault = ACCOUNT_LACKS_SCOPES if held.intersection(resource.scope_names) else ACCOUNT_WITHOUT_SCOPES
    return [
        fault.seen(
            f"{key} lacks {scope}{_for_tools(installation, scope)}", example=f"gatepost users grant {key} {scope}"
        )
        for scope in lacking
    ]


_DISABLED = frozenset({"\0disabled"})
"""Not the name of any scope."""


def _held(tx: Transaction, key: str, resource: str) -> frozenset[str] | None:
    """The scopes that the person holds; None if there is no account."""
    account = accounts.by_key(tx, key)
    if account is None:
        return None
    return _DISABLED if account.disabled_at is not None else accounts.held_scopes(tx, account.id, resource)


def _for_tools(installation: Installation, scope: str) -> str:
    tools = [name for name, needed in installation.tools.items() if needed == scope]
    return f", which {', '.join(tools)} {'need' if len(tools) > 1 else 'needs'}" if tools else ""


ACCOUNT = Check(
    "account",
    "Scopes of the account",
    _account,
    (ACCOUNT_UNKNOWN, ACCOUNT_DISABLED, ACCOUNT_WITHOUT_SCOPES, ACCOUNT_LACKS_SCOPES),
    ("schema", "catalogue"),
)
