"""Cryptographic primitives: random tokens and their hashes, purpose-bound keys, MACs, signatures, sealed values."""

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
    """A sealed value does not open: its key is not in SECRET_KEY, or the value was changed."""


def random_id(size: int = 16) -> str:
    """``size`` random bytes in base64url."""
    return secrets.token_urlsafe(size)


def random_bytes(size: int = 32) -> bytes:
    """``size`` random bytes."""
    return secrets.token_bytes(size)


def opaque_token(prefix: str) -> str:
    """A new token of 256 random bits; the prefix lets people and secret scanners recognise its kind."""
    return f"{prefix}{secrets.token_urlsafe(32)}"


def token_hash(token: str) -> bytes:
    """SHA-256 of a token, the only form in which it is stored. With 256 random bits it needs no salt or slow hash."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def keyed_digest(key: bytes, *parts: bytes) -> bytes:
    """HMAC-SHA-256 (32 bytes) over ``parts``, each length-prefixed so that no two lists of parts encode alike."""
    mac = hmac.new(key, digestmod=hashlib.sha256)
    for part in parts:
        mac.update(len(part).to_bytes(4, "big") + part)
    return mac.digest()


def base64url(data: bytes) -> str:
    """``data`` in base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


@dataclass(frozen=True)
class SecretKeys:
    """The operator's SECRET_KEY list: the last key signs and seals; all of them verify and open."""

    values: tuple[str, ...]

    @cached_property
    def newest(self) -> str:
        """Id of the key that signs: 8 hex digits of its digest, safe to store beside what it signed or sealed."""
        return self._ids[-1]

    @cached_property
    def _ids(self) -> list[str]:
        return [hashlib.sha256(b"gatepost key id:" + value.encode()).hexdigest()[:8] for value in self.values]

    @cached_property
    def _by_id(self) -> dict[str, bytes]:
        return dict(zip(self._ids, (value.encode() for value in self.values), strict=True))

    def knows(self, key_id: str) -> bool:
        """Whether that key is still in the list."""
        return key_id in self._by_id

    def derived(self, purpose: str, key_id: str | None = None) -> bytes:
        """A 32-byte key for one purpose, derived from ``key_id`` or the newest; raises SealBroken if it is unknown."""
        secret = self._by_id.get(key_id or self.newest)
        if secret is None:
            raise SealBroken(f"key {key_id} is no longer in SECRET_KEY")
        return keyed_digest(secret, b"gatepost", purpose.encode())

    def serializer(self, purpose: str) -> URLSafeTimedSerializer:
        """Signs and verifies cookies and form tokens; what is signed for one purpose never verifies for another."""
        return URLSafeTimedSerializer(
            list(self.values),
            salt=f"gatepost.{purpose}",
            signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"},
        )

    def seal(self, purpose: str, plain: bytes) -> bytes:
        """``plain`` under AES-256-GCM with the newest key: key id (8 bytes), nonce (12), ciphertext and tag.

        ``purpose`` selects the derived key and is the associated data.
        """
        nonce = secrets.token_bytes(12)
        sealed = AESGCM(self.derived(f"seal {purpose}")).encrypt(nonce, plain, purpose.encode())
        return self.newest.encode() + nonce + sealed

    def opened(self, purpose: str, sealed: bytes) -> bytes:
        """The plaintext given to ``seal``; raises SealBroken for an unknown key, another purpose or a changed value."""
        key = self.derived(f"seal {purpose}", sealed[:8].decode("ascii", "replace"))
        try:
            return AESGCM(key).decrypt(sealed[8:20], sealed[20:], purpose.encode())
        except (InvalidTag, ValueError):  # changed, or too short to have a nonce
            raise SealBroken(f"the sealed {purpose} was changed") from None

    def seals_with_newest(self, sealed: bytes) -> bool:
        """Whether the newest key sealed it, so that it need not be resealed."""
        return sealed[:8] == self.newest.encode()
