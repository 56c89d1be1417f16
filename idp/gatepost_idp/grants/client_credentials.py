"""Client credentials (RFC 6749 section 4.4): a resource server lists a backend's tools while no person is calling."""

from gatepost_idp.catalogue import Backends
from gatepost_idp.grants.token_endpoint import Redeem, TokenRequest
from gatepost_idp.grants.token_exchange import backend_of
from gatepost_idp.protocol import Refused
from gatepost_idp.tokens import ForBackend


class ClientCredentials:
    """Issues a token with no scopes and no person, which only proves to the backend who is calling."""

    def __init__(self, backends: Backends) -> None:
        self._backends = backends

    def __call__(self, asked: TokenRequest) -> Redeem | Refused:
        """Issues a token for the backend in ``resource``; its subject is the resource server (RFC 9068 section 2.2)."""
        backend = backend_of(asked, self._backends)
        if isinstance(backend, Refused):
            return backend
        if scope := asked.parameters.get("scope"):
            description = "Scopes belong to people. Ask for none, or exchange a person's token."
            return Refused("invalid_scope", description, "scope without a person", scope[:200], "none")
        granted = ForBackend(backend.url, (), None)
        return lambda _tx: granted
