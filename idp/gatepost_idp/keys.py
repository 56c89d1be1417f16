"""Signing keys and server secrets: made once, sealed under SECRET_KEY, rotated with an overlap."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property, lru_cache, partial

from joserfc.jwk import ECKey, KeyParameters, RSAKey
from joserfc.jws import JWSRegistry
from joserfc.util import json_b64encode, urlsafe_b64encode

from gatepost_idp import crypto, models
from gatepost_idp.crypto import SealBroken, SecretKeys
from gatepost_idp.database import Database
from gatepost_idp.protocol import Clock, compact_json, instant, milliseconds
from gatepost_idp.store import audit
from gatepost_idp.store import keys as store
from gatepost_idp.transaction import Transaction

PUBLISHED_AHEAD = timedelta(seconds=60)
RELOAD_SECONDS = 5.0
ACCESS_TOKEN_ALGORITHM = "ES256"
ID_TOKEN_ALGORITHMS = ("RS256", "ES256")
"""RS256 is what OpenID Connect's clients expect unless they ask otherwise (OIDC Core section 15.1)."""
_SIGNING = JWSRegistry(algorithms=ID_TOKEN_ALGORITHMS)
PrivateKey = ECKey | RSAKey


def _made(algorithm: str) -> PrivateKey:
    options: KeyParameters = {"use": "sig", "alg": algorithm}
    if algorithm == "RS256":
        return RSAKey.generate_key(2048, options, private=True, auto_kid=True)
    return ECKey.generate_key("P-256", options, private=True, auto_kid=True)


@dataclass(frozen=True)
class SigningKey:
    """An unsealed key: it signs from ``active_at`` and verifies until ``retired_at`` (None: not yet retired)."""

    kid: str
    algorithm: str
    private_jwk: bytes = field(repr=False)
    public_jwk: dict[str, str]
    active_at: datetime
    retired_at: datetime | None

    @cached_property
    def private(self) -> PrivateKey:
        """Parsed on first use: that tests an RSA key's primes, which takes 70 ms, and only id tokens need one."""
        kind: type[PrivateKey] = RSAKey if self.algorithm == "RS256" else ECKey
        return kind.import_key(json.loads(self.private_jwk))

    def signed(self, kind: str, claims: Mapping[str, object]) -> str:
        """A JWT whose ``typ`` is ``kind``, in compact form (RFC 7515 section 7.1, RFC 7519).

        joserfc only signs. Its header validation and key selection are skipped: they cost as much as the signature,
        and this header is our own.
        """
        head = _header(kind, self.algorithm, self.kid)
        told = head + b"." + urlsafe_b64encode(compact_json(claims).encode())
        signature = _SIGNING.get_alg(self.algorithm).sign(told, self.private)
        return (told + b"." + urlsafe_b64encode(signature)).decode("ascii")


@lru_cache(64)
def _header(kind: str, algorithm: str, kid: str) -> bytes:
    return json_b64encode({"typ": kind, "alg": algorithm, "kid": kid})


class Keys:
    """The keys in memory, reloaded every few seconds, so that a rotation by another process applies within ten."""

    def __init__(self, database: Database, secret_keys: SecretKeys, clock: Clock) -> None:
        self._database = database
        self._secret_keys = secret_keys
        self._clock = clock
        self._signing: list[SigningKey] = []
        self._sealed: tuple[bytes, ...] = ()
        self.jwks: bytes = b'{"keys":[]}'
        self.registration_key = b""
        self.refresh_key = b""

    async def load(self) -> None:
        """Makes missing keys and secrets, reseals those under an older SECRET_KEY, and opens all of them.

        Raises SealBroken when SECRET_KEY lacks the key that sealed one.
        """
        now = self._clock()
        self.registration_key = await self._database.write(lambda tx: self._ensure_secret(tx, "registration"))
        self.refresh_key = await self._database.write(lambda tx: self._ensure_secret(tx, "refresh"))
        self._open(await self._database.write(lambda tx: self._ensure_signing_keys(tx, now)))

    async def reload(self) -> None:
        """Reads the signing keys again, to pick up a rotation by another process."""
        self._open(await self._database.read(partial(store.living, now_ms=milliseconds(self._clock()))))

    def signing(self, algorithm: str = ACCESS_TOKEN_ALGORITHM) -> SigningKey:
        """The newest active key of ``algorithm``."""
        now = self._clock()
        ours = [key for key in self._signing if key.algorithm == algorithm]
        # If the clock was set back, none may be active yet: then use the oldest, which every verifier has.
        return next((key for key in ours if key.active_at <= now), ours[-1])

    def verifying(self, kid: str) -> SigningKey | None:
        """The key with that id, or None if it is unknown or retired."""
        now = self._clock()
        alive = (key for key in self._signing if key.retired_at is None or key.retired_at > now)
        return next((key for key in alive if key.kid == kid), None)

    def _open(self, rows: list[models.SigningKey]) -> None:
        sealed = tuple(row.sealed_jwk for row in rows)
        if sealed == self._sealed:
            return
        self._signing = [self._opened(row) for row in rows]
        self._sealed = sealed
        self.jwks = json.dumps({"keys": [key.public_jwk for key in self._signing]}).encode()

    def _opened(self, row: models.SigningKey) -> SigningKey:
        return SigningKey(
            kid=row.kid,
            algorithm=row.algorithm,
            private_jwk=self._secret_keys.opened("signing key", row.sealed_jwk),
            public_jwk=json.loads(row.public_jwk),
            active_at=instant(row.active_at),
            retired_at=instant(row.retired_at) if row.retired_at is not None else None,
        )

    def _ensure_secret(self, tx: Transaction, name: str) -> bytes:
        store.lock(tx)
        row = store.secret(tx, name)
        plain = self._secret_keys.opened(name, row.sealed) if row else crypto.random_bytes()
        if row is None or not self._secret_keys.seals_with_newest(row.sealed):
            store.save(tx, models.ServerSecret(name=name, sealed=self._secret_keys.seal(name, plain)))
        return plain

    def _ensure_signing_keys(self, tx: Transaction, now: datetime) -> list[models.SigningKey]:
        store.lock(tx)
        rows = store.living(tx, milliseconds(now))
        # A key that is not active at ``now`` counts too: another process made it while we waited for the lock, or its
        # clock is ahead of ours.
        there = {row.algorithm for row in rows}
        rows += [
            make_signing_key(tx, self._secret_keys, algorithm, now, active_at=now)
            for algorithm in ID_TOKEN_ALGORITHMS
            if algorithm not in there
        ]
        for row in rows:
            if not self._secret_keys.seals_with_newest(row.sealed_jwk):
                plain = self._secret_keys.opened("signing key", row.sealed_jwk)
                row.sealed_jwk = self._secret_keys.seal("signing key", plain)
                store.save(tx, row)
        return store.living(tx, milliseconds(now))


def opens(secret_keys: SecretKeys | None, rows: Sequence[models.SigningKey]) -> bool:
    """Whether every seal opens; with ``secret_keys`` None (before the first start) only an empty list does."""
    try:
        for row in rows:
            if secret_keys is None:
                return False
            secret_keys.opened("signing key", row.sealed_jwk)
    except SealBroken:
        return False
    return True


def make_signing_key(
    tx: Transaction, secret_keys: SecretKeys, algorithm: str, now: datetime, active_at: datetime
) -> models.SigningKey:
    """Makes and stores a key; its ``kid`` is its thumbprint (RFC 7638)."""
    key = _made(algorithm)
    row = models.SigningKey(
        kid=str(key.kid),
        algorithm=algorithm,
        public_jwk=json.dumps(key.as_dict(private=False)),
        sealed_jwk=secret_keys.seal("signing key", json.dumps(key.as_dict(private=True)).encode()),
        created_at=milliseconds(now),
        active_at=milliseconds(active_at),
    )
    store.save(tx, row)
    return row


def rotate(
    tx: Transaction,
    secret_keys: SecretKeys,
    now: datetime,
    token_life: timedelta,
    *,
    at_once: bool = False,
    network: str = "",
    actor: str = "",
) -> list[models.SigningKey]:
    """Publishes new keys at once and signs with them a minute later; returns the new keys.

    The old ones verify for ``token_life`` plus one more minute after that. ``at_once``, for a stolen key: the new ones
    sign now, and no older one verifies any more, not even one that was about to retire.
    """
    store.lock(tx)
    active_at = now if at_once else now + PUBLISHED_AHEAD
    retired_at = now if at_once else active_at + token_life + PUBLISHED_AHEAD
    for row in store.living(tx, milliseconds(now)):
        if at_once or row.retired_at is None:
            row.retired_at = milliseconds(retired_at)
            store.save(tx, row)
    made = [make_signing_key(tx, secret_keys, algorithm, now, active_at) for algorithm in ID_TOKEN_ALGORITHMS]
    kids = " ".join(row.kid for row in made)
    detail = f"at once, new: {kids}" if at_once else f"new: {kids}"
    audit.record(tx, "key.rotated", now, network=network, actor=actor, detail=detail)
    return made
