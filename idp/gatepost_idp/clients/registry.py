"""Registers clients, and finds the client of a ``client_id``, with a cache of at most ten seconds' age."""

import hmac
from datetime import datetime, timedelta
from time import monotonic

from gatepost_idp import crypto
from gatepost_idp.clients import metadata_document
from gatepost_idp.clients.documents import Documents
from gatepost_idp.clients.metadata import Registration
from gatepost_idp.database import Database
from gatepost_idp.keys import Keys
from gatepost_idp.protocol import Clock
from gatepost_idp.store import audit
from gatepost_idp.store import clients as store
from gatepost_idp.store.audit import NOWHERE, Source
from gatepost_idp.store.clients import Client
from gatepost_idp.transaction import Transaction

PUBLIC_PREFIX = "gp_dc_"
CONFIDENTIAL_PREFIX = "gp_cc_"
MANUAL_PREFIX = "gp_mc_"
RESOURCE_SERVER_PREFIX = "gp_rs_"
_ROWS = (CONFIDENTIAL_PREFIX, MANUAL_PREFIX, RESOURCE_SERVER_PREFIX)
"""Prefixes of ids that are also the id of their row."""
SECRET_PREFIX = "gp_cs_"
CLAUDE_CALLBACKS = ("https://claude.ai/api/mcp/auth_callback", "https://claude.com/api/mcp/auth_callback")
_NOTED_EVERY = timedelta(days=1)
"""Precision of a kind's last registration, by which the purge decides."""
_CACHE_SECONDS = 10.0
_CACHE_SIZE = 4096


class Registry:
    """All clients. A public registration has no row of its own: a MAC in its id proves that this server issued it."""

    def __init__(self, database: Database, keys: Keys, clock: Clock, documents: Documents | None = None) -> None:
        """Without ``documents``, a URL is never a client."""
        self._database = database
        self._documents = documents
        self._keys = keys
        self._clock = clock
        self._cache: dict[str, tuple[float, Client]] = {}
        self._stored_kinds: dict[str, float] = {}

    async def find(self, client_id: str, network: str) -> Client | None:
        """The client, disabled or not; None if the id is unknown or its MAC is wrong. ``network``: the caller's.

        Raises NoDocument if the id is a URL without a usable document.
        """
        if self._documents is not None and metadata_document.is_url(client_id):
            return await self._documents.find(client_id, network)
        cached = self._cache.get(client_id)
        if cached is not None and monotonic() - cached[0] < _CACHE_SECONDS:
            return cached[1]
        row = self._row_of(client_id)
        if row is None:
            return None
        client = await self._database.read(lambda tx: store.find(tx, client_id, row))
        if client is not None:
            if len(self._cache) >= _CACHE_SIZE:
                self._cache.clear()
            self._cache[client_id] = (monotonic(), client)
        return client

    async def register_public(self, registration: Registration, source: Source = NOWHERE) -> str | None:
        """A new client_id for one registration of a kind; None if the operator has disabled that kind.

        The id is a digest of the metadata, a random part, and a MAC over both under a key that all processes share.
        """
        canonical = registration.canonical_json()
        kind = crypto.base64url(crypto.token_hash(canonical)[:16])
        row = PUBLIC_PREFIX + kind
        if monotonic() - self._stored_kinds.get(row, -_CACHE_SECONDS) >= _CACHE_SECONDS:
            found, now = await self._database.read(lambda tx: store.kind(tx, row)), self._clock()
            if found is None:
                await self._database.write(lambda tx: _made(tx, row, "registered", canonical, now, source))
            elif found.disabled:
                return None
            elif now - found.registered_at > _NOTED_EVERY:
                await self._database.write(lambda tx: store.register_again(tx, row, now))
            if len(self._stored_kinds) >= _CACHE_SIZE:
                self._stored_kinds.clear()
            self._stored_kinds[row] = monotonic()
        unique = crypto.random_id(12)
        return f"{row}.{unique}.{self._mac(row, unique)}"

    async def register_confidential(
        self, registration: Registration, origin: store.Origin, source: Source = NOWHERE
    ) -> tuple[str, str]:
        """A new client_id and its secret, which is stored only as a hash."""
        client_id = CONFIDENTIAL_PREFIX + crypto.random_id()
        secret = crypto.opaque_token(SECRET_PREFIX)
        secret_hash, now, text = crypto.token_hash(secret), self._clock(), registration.canonical_json()
        await self._database.write(lambda tx: _made(tx, client_id, origin, text, now, source, secret_hash))
        return client_id, secret

    async def register_resource_server(
        self, name: str, resource: str, client_id: str = "", source: Source = NOWHERE
    ) -> tuple[str, str]:
        """The id and secret with which a resource server introspects tokens for ``resource`` (RFC 7662 section 2.1).

        ``client_id``: existing credentials, which get a new secret.
        """
        client_id = client_id or RESOURCE_SERVER_PREFIX + crypto.random_id()
        secret = crypto.opaque_token(SECRET_PREFIX)
        secret_hash, now = crypto.token_hash(secret), self._clock()
        text = Registration(name, (), "client_secret_basic", ()).canonical_json()

        def work(tx: Transaction) -> None:
            if not _made(tx, client_id, "resource_server", text, now, source, secret_hash, resource):
                store.set_secret(tx, client_id, secret_hash)
                audit.record(
                    tx, "client.secret_renewed", now, client_id=client_id, network=source.network,
                    trace_id=source.trace_id,
                )  # fmt: skip  # one row

        await self._database.write(work)
        return client_id, secret

    def _row_of(self, client_id: str) -> str | None:
        """The row id that a client_id refers to, or None. Checks the MAC, so that a guessed id costs no query."""
        if not (client_id.isascii() and client_id.isprintable()):
            return None  # never issued, and PostgreSQL accepts no NUL in text
        if client_id.startswith(_ROWS):
            return client_id
        row, _, rest = client_id.partition(".")
        unique, _, mac = rest.partition(".")
        if not row.startswith(PUBLIC_PREFIX):
            return None
        return row if hmac.compare_digest(mac, self._mac(row, unique)) else None

    def _mac(self, row: str, unique: str) -> str:
        mac = crypto.keyed_digest(self._keys.registration_key, b"client id", row.encode(), unique.encode())
        return crypto.base64url(mac[:16])


def _made(
    tx: Transaction,
    row: str,
    origin: store.Origin,
    registration: str,
    now: datetime,
    source: Source,
    secret_hash: bytes | None = None,
    resource: str = "",
) -> bool:
    """Stores a client and records it in the audit log; False if it exists."""
    is_new = store.add(tx, row, origin, registration, now, secret_hash, resource)
    if is_new:
        network, trace_id = source.network, source.trace_id
        audit.record(tx, "client.made", now, client_id=row, network=network, trace_id=trace_id, detail=origin)
    return is_new


def why_unknown(client_id: str) -> str:
    """For `gatepost trace`: what was expected in place of an id that ``find`` does not know."""
    if not client_id:
        return "a client_id"
    if not client_id.startswith((PUBLIC_PREFIX, *_ROWS)):
        return "an id from this server: register at /register, or run gatepost clients add"
    return "an id that this database gave out: this one was changed on its way, or comes from another database"


def is_secret_of(client: Client, secret: str) -> bool:
    """Whether ``secret`` is the client's, in constant time."""
    return client.secret_hash is not None and hmac.compare_digest(client.secret_hash, crypto.token_hash(secret))
