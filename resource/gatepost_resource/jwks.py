"""The issuer's signing keys: fetched regularly and for unknown ids, rate limited, kept while the issuer is down."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import structlog
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from gatepost_resource.errors import KeysUnavailable
from gatepost_resource.issuer import ANSWER_SECONDS, BadDocument, Issuer

log = structlog.get_logger("gatepost_resource.jwks")

REFRESH_SECONDS = 300.0
RETRY_SECONDS = 5.0
UNKNOWN_KEY_SECONDS = 10.0
NO_KEYS_SECONDS = 0.5


class IssuerKeys:
    """The ES256 keys of one issuer by ``kid``.

    Two things cause a fetch: the timer of ``keep_fresh``, and a token whose key is unknown. Anybody can cause the
    second, so it happens at most once per UNKNOWN_KEY_SECONDS (NO_KEYS_SECONDS while there are no keys) and never
    concurrently. A failed fetch changes nothing: the keys of the last good one stay in use.
    """

    def __init__(self, issuer: Issuer, monotonic: Callable[[], float] = time.monotonic) -> None:
        """``monotonic``: seconds, from any origin."""
        self._issuer = issuer
        self._monotonic = monotonic
        self._keys: dict[str, ECKey] = {}
        self._failure: str | None = "they have not been fetched yet"
        self._asked_at = float("-inf")
        self._fetched_at: float | None = None
        self._fetching: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether the keys were fetched at least once."""
        return bool(self._keys)

    @property
    def problem(self) -> str:
        """Why the last attempt to fetch them failed; empty if it succeeded."""
        return self._failure or ""

    @property
    def number(self) -> int:
        """How many keys are known."""
        return len(self._keys)

    def age(self) -> float | None:
        """Seconds since they were last fetched; None if they never were."""
        return None if self._fetched_at is None else self._monotonic() - self._fetched_at

    def holds(self, kid: str, key: ECKey) -> bool:
        """Whether the issuer still publishes this very key under this id."""
        return self._keys.get(kid) is key

    async def find(self, kid: str) -> ECKey | None:
        """The key with that id, or None if the issuer has no such key.

        Raises KeysUnavailable when the key is unknown and the last fetch failed.
        """
        if kid not in self._keys and self._may_ask():
            await self.refresh()
        key = self._keys.get(kid)
        if key is None and self._failure is not None:
            raise KeysUnavailable(f"no key {kid[:64]!r}: {self._failure}")
        return key

    def _may_ask(self) -> bool:
        if self._fetching is not None:
            return True  # joins the fetch under way, which costs the issuer nothing
        pause = UNKNOWN_KEY_SECONDS if self._keys else NO_KEYS_SECONDS
        now = self._monotonic()
        if now - self._asked_at < pause:
            return False
        self._asked_at = now
        return True

    async def refresh(self) -> None:
        """Fetches the keys, or waits for the fetch under way; a failure is logged and kept as ``problem``."""
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch())
        # Shielded: one caller's cancellation must not cancel the fetch that others wait for.
        await asyncio.shield(self._fetching)

    async def keep_fresh(self, seconds: float = REFRESH_SECONDS) -> None:
        """Fetches at once and then every ``seconds``, sooner after a failure, until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(seconds if self._failure is None else min(seconds, RETRY_SECONDS))

    async def aclose(self) -> None:
        """Cancels a fetch under way."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                found = await self._download()
        except Exception as problem:  # noqa: BLE001 - the network's edge: whatever happens, old keys go on
            self._failed(str(problem) or type(problem).__name__)
        else:
            self._replace(found)
        finally:
            self._fetching = None

    def _failed(self, failure: str) -> None:
        if failure != self._failure:
            log.warning("keys_not_fetched", issuer=self._issuer.url, reason=failure, setting="OAUTH_ISSUER")
        self._failure = failure
        self._issuer.forget()

    def _replace(self, found: dict[str, ECKey]) -> None:
        if found.keys() != self._keys.keys():
            log.info("keys_fetched", issuer=self._issuer.url, kids=sorted(found))
        # An unchanged key stays the same object: the verifier compares the keys of cached tokens by identity.
        known = self._keys
        self._keys = {kid: known[kid] if known.get(kid) == key else key for kid, key in found.items()}
        self._failure = None
        self._fetched_at = self._monotonic()

    async def _download(self) -> dict[str, ECKey]:
        uri = await self._issuer.endpoint("jwks_uri")
        entries = (await self._issuer.get(uri)).get("keys")
        keys = read_keys(entries if isinstance(entries, list) else [])
        if not keys:
            raise BadDocument(f"{uri} has no ES256 key with a kid")
        return keys


def read_keys(entries: list[Any]) -> dict[str, ECKey]:
    """The keys of a JWKS that verify ES256, by ``kid``; others (RS256, encryption) are ignored."""
    keys = {}
    for entry in entries:
        if not isinstance(entry, dict) or entry.get("kty") != "EC" or entry.get("crv") != "P-256":
            continue
        if entry.get("use", "sig") != "sig" or entry.get("alg", "ES256") != "ES256":
            continue
        kid = entry.get("kid")
        if isinstance(kid, str) and kid and (key := _import(entry)) is not None:
            keys[kid] = key
    return keys


def _import(entry: dict[str, Any]) -> ECKey | None:
    public = {name: value for name, value in entry.items() if name in ("kty", "crv", "x", "y", "kid")}
    try:
        return ECKey.import_key(public)  # checks that the point lies on the curve
    except (JoseError, ValueError, TypeError, KeyError):
        log.warning("key_not_usable", kid=str(entry.get("kid"))[:64])
        return None
