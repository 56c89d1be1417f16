"""Token exchange (RFC 8693): a resource server turns its caller's token into one for a backend behind it.

This is delegation, not impersonation: the new token names the person and, in ``act``, the resource server that calls
for them. The actor is always the authenticated client, so an ``actor_token`` is refused (section 2.1).
"""

from collections.abc import Callable
from datetime import UTC, datetime

from gatepost_idp import crypto, tokens
from gatepost_idp.catalogue import Backend, Backends
from gatepost_idp.grants.token_endpoint import Redeem, TokenRequest
from gatepost_idp.protocol import ACCESS_TOKEN_TYPE, Refused, scope_set, scope_text
from gatepost_idp.store import audit, exchanges
from gatepost_idp.store.exchanges import Subject
from gatepost_idp.tokens import ForBackend
from gatepost_idp.transaction import Transaction

Find = Callable[[Transaction], Subject | None]


class TokenExchange:
    """Issues a token for one backend, with scopes that both the caller's token and the backend's rules contain."""

    def __init__(self, backends: Backends) -> None:
        self._backends = backends

    def __call__(self, asked: TokenRequest) -> Redeem | Refused:
        """Checks the request and returns the exchange. The subject token is not spent: it stays valid."""
        refused = _other_than_offered(asked)
        if refused is not None:
            return refused
        backend = backend_of(asked, self._backends)
        if isinstance(backend, Refused):
            return backend
        find = _reading(asked)
        if isinstance(find, Refused):
            return find
        return lambda tx: _exchanged(tx, asked, backend, find)


def backend_of(asked: TokenRequest, backends: Backends) -> Backend | Refused:
    """The backend whose URL is exactly ``resource``, which becomes the audience (RFC 8707 section 2).

    ``invalid_target`` where the calling resource server has no such backend, or ``audience`` was sent.
    """
    url = asked.parameters.resource
    backend = backends.find(url, asked.client.resource) if url else None
    if backend is not None and asked.parameters.get("audience") is None:
        return backend
    known = ", ".join(one.url for one in backends.current() if one.resource == asked.client.resource)
    description = "Name a backend from the catalogue in resource, and send no audience."
    received = "an audience" if backend is not None else (url or "no resource")[:200]
    expected = f"a [[backend]] of {asked.client.resource}: {known or 'there is none'}"
    return Refused("invalid_target", description, "no backend of this resource server", received, expected)


def _other_than_offered(asked: TokenRequest) -> Refused | None:
    """Refuses parameters that this server does not support, rather than ignoring them (RFC 8693 section 2.1)."""
    get = asked.parameters.get
    for name in ("actor_token", "actor_token_type"):
        if get(name) is not None:
            description = "The actor is the authenticated client. Send no actor_token."
            return Refused("invalid_request", description, "an actor_token", name, "none", event=_SMUGGLED)
    if get("requested_token_type") not in (None, ACCESS_TOKEN_TYPE):
        description = "Only access tokens are issued."
        return Refused("invalid_request", description, "requested_token_type", "another type", ACCESS_TOKEN_TYPE)
    if get("subject_token_type") != ACCESS_TOKEN_TYPE:
        description = "The subject_token_type must be that of an access token."
        return Refused("invalid_request", description, "subject_token_type", "another, or none", ACCESS_TOKEN_TYPE)
    return None


def _reading(asked: TokenRequest) -> Find | Refused:
    """The query for the subject token's person. One for another resource gets the same description as a forged one."""
    token, now = asked.parameters.get("subject_token"), asked.now
    if token is None:
        return Refused("invalid_request", "The subject_token is missing.", "no subject_token", "none", _EXPECTED)
    if token.startswith(tokens.PERSONAL_PREFIX):
        token_hash = crypto.token_hash(token)
        return lambda tx: exchanges.of_personal_token(tx, token_hash, now)
    claims = tokens.read_access_token(asked.keys, asked.settings.oauth_issuer, token, now)
    if claims is None:
        return _refused("expired, or no access token of this server")
    if tokens.is_for_backend(claims):
        return _refused("itself from an exchange", _CHAINED)
    if claims["aud"] != asked.client.resource:
        return _refused("for another resource", _FOREIGN)
    ends_at = datetime.fromtimestamp(claims["exp"], UTC)
    scope, auth_time = scope_set(claims["scope"]), claims["auth_time"]
    return lambda tx: exchanges.of_access_token(tx, tokens.grant_of(claims), scope, ends_at, auth_time, now)


def _exchanged(tx: Transaction, asked: TokenRequest, backend: Backend, find: Find) -> ForBackend | Refused:
    subject = find(tx)
    if subject is None:
        return _refused("of a connection, token or person that has ended", _ENDED)
    if subject.resource != asked.client.resource:
        return _refused("for another resource", _FOREIGN)
    scope = _narrowed(asked, backend, subject)
    if isinstance(scope, Refused):
        return scope
    audit.record(
        tx, exchanges.EXCHANGED, asked.now, account_id=subject.account_id, client_id=asked.client.id,
        grant_id=subject.origin, trace_id=subject.trace_id, network=asked.network, detail=backend.name,
    )  # fmt: skip  # one row
    return ForBackend(backend.url, scope, subject)


def _narrowed(asked: TokenRequest, backend: Backend, subject: Subject) -> tuple[str, ...] | Refused:
    """The requested scopes, or all that are available, without those that the person no longer holds.

    A request for more than the subject token and the backend's rules have in common is refused. So is an empty result:
    a backend that checks only the audience would let in somebody who may do nothing there.
    """
    offered = subject.scope & backend.scopes
    wanted = scope_set(asked.parameters.get("scope") or "") or tuple(sorted(offered))
    issued = tuple(name for name in wanted if name in subject.held)
    if issued and offered.issuperset(wanted):
        return issued
    description = "The scope exceeds what the subject token and the backend have in common."
    received = scope_text(wanted)[:200] or "no scope in common"
    expected = scope_text(sorted(offered & subject.held)) or f"one of {scope_text(sorted(backend.scopes))}"
    event = "" if offered.issuperset(wanted) else _WIDENED
    return Refused("invalid_scope", description, "scope", received, expected, subject.trace_id, event)


def _refused(what: str, event: str = "") -> Refused:
    """A refusal with the same description for any bad subject token (section 2.2.2); only the log has the reason."""
    description = "The subject_token is not an access token that can be exchanged here."
    return Refused("invalid_request", description, f"subject token {what}", "a token", _EXPECTED, event=event)


_EXPECTED = "the access token, or personal token, that the resource server was just called with"
_SMUGGLED = "refused.exchange_actor"
_CHAINED = "refused.exchange_of_exchanged"
_FOREIGN = "refused.exchange_of_another"
_ENDED = "refused.exchange_ended"
_WIDENED = "refused.exchange_widened"
