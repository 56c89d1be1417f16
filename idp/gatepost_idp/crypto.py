"""Secrets and what is made from them: purpose-bound keys, signatures, sealed values, hashes of tokens."""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from functools import cached_property

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from itsdangerous import URLSafeTimedSerializer


class SealBroken(Exception):
    """A sealed value does not open: another SECRET_KEY sealed it, or somebody changed it."""


def random_id(size: int = 16) -> str:
    """``size`` random bytes in base64url."""
    return secrets.token_urlsafe(size)


def random_bytes(size: int = 32) -> bytes:
    """``size`` random bytes."""
    return secrets.token_bytes(size)


def opaque_token(prefix: str) -> str:
    """A new token of 256 random bits; the prefix tells people and scanners its kind."""
    return f"{prefix}{secrets.token_urlsafe(32)}"


def token_hash(token: str) -> bytes:
    """SHA-256 of a token. Its 256 random bits need no salt and no slow hash; only this is ever stored."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def keyed_digest(key: bytes, *parts: bytes) -> bytes:
    """HMAC-SHA-256 over ``parts``, each with its length in front so that no two lists of parts meet."""
    mac = hmac.new(key, digestmod=hashlib.sha256)
    for part in parts:
        mac.update(len(part).to_bytes(4, "big") + part)
    return mac.digest()


def base64url(data: bytes) -> str:
    """``data`` in base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


@dataclass(frozen=True)
class SecretKeys:
    """The operator's SECRET_KEY list: the last one signs and seals, each of them verifies and opens."""

    values: tuple[str, ...]

    @cached_property
    def newest(self) -> str:
        """Id of the key that signs: a digest, so that it can stand beside what the key made."""
        return self._ids[-1]

    @cached_property
    def _ids(self) -> list[str]:
        return [hashlib.sha256(b"gatepost key id:" + value.encode()).hexdigest()[:8] for value in self.values]

    @cached_property
    def _by_id(self) -> dict[str, bytes]:
        return dict(zip(self._ids, (value.encode() for value in self.values), strict=True))

    def knows(self, key_id: str) -> bool:
        """Whether that key is still on the list."""
        return key_id in self._by_id

    def derived(self, purpose: str, key_id: str | None = None) -> bytes:
        """32 bytes for one purpose alone; raises SealBroken for a key that was dropped from the list."""
        secret = self._by_id.get(key_id or self.newest)
        if secret is None:
            raise SealBroken(f"key {key_id} is no longer in SECRET_KEY")
        return keyed_digest(secret, b"gatepost", purpose.encode())

    def serializer(self, purpose: str) -> URLSafeTimedSerializer:
        """Signs cookies, CSRF tokens and steps; what is signed for one purpose never verifies for another."""
        return URLSafeTimedSerializer(
            list(self.values),
            salt=f"gatepost.{purpose}",
            signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"},
        )

    def seal(self, purpose: str, plain: bytes) -> bytes:
        """``plain`` encrypted and authenticated under the newest key: key id, nonce, ciphertext."""
        nonce = secrets.token_bytes(12)
        sealed = AESGCM(self.derived(f"seal {purpose}")).encrypt(nonce, plain, purpose.encode())
        return self.newest.encode() + nonce + sealed

    def opened(self, purpose: str, sealed: bytes) -> bytes:
        """What ``seal`` was given; raises SealBroken."""
        key = self.derived(f"seal {purpose}", sealed[:8].decode("ascii", "replace"))
        try:
            return AESGCM(key).decrypt(sealed[8:20], sealed[20:], purpose.encode())
        except (InvalidTag, ValueError):  # changed, or cut so short that there is no nonce
            raise SealBroken(f"the sealed {purpose} was changed") from None

    def seals_with_newest(self, sealed: bytes) -> bool:
        """Whether the newest key sealed it, so that nothing needs to be done at a rotation."""
        return sealed[:8] == self.newest.encode()
