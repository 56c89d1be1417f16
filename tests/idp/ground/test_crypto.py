"""Signing, sealing and key derivation: bound to a purpose, tamper-evident, rotated without interruption."""

import base64
import hashlib
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from itsdangerous import BadSignature

from gatepost_idp import crypto
from gatepost_idp.crypto import SealBroken, SecretKeys

OLD, NEW = "o" * 40, "n" * 40
KEYS = SecretKeys((OLD,))
ROLLED = SecretKeys((OLD, NEW))
PURPOSES = ("browser cookie", "csrf", "sign-in link")


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_what_is_signed_for_one_purpose_serves_no_other() -> None:
    """A browser's cookie does not pass as a CSRF token, nor the reverse."""
    for made_for in PURPOSES:
        signed = KEYS.serializer(made_for).dumps("value")
        for used_for in PURPOSES:
            if made_for == used_for:
                assert KEYS.serializer(used_for).loads(signed) == "value"
                continue
            with pytest.raises(BadSignature):
                KEYS.serializer(used_for).loads(signed)


def test_a_signature_is_sha256() -> None:
    """The library's own default is SHA-1."""
    signature = str(KEYS.serializer("csrf").dumps("value")).rpartition(".")[2]
    assert len(_decoded(signature)) == hashlib.sha256().digest_size


def test_a_signature_notices_every_change() -> None:
    """A change of any character is detected."""
    serializer = KEYS.serializer("csrf")
    signed = str(serializer.dumps("value"))
    for place in range(len(signed)):
        changed = signed[:place] + ("A" if signed[place] != "A" else "B") + signed[place + 1 :]
        # The last base64 character has unused bits; what it decodes to is still the same signature.
        if place != len(signed) - 1:
            with pytest.raises(BadSignature):
                serializer.loads(changed)


def test_of_several_keys_the_last_signs_and_each_verifies() -> None:
    """A rotation signs nobody out; a dropped key's signatures are worth nothing."""
    before = KEYS.serializer("csrf").dumps("value")
    assert ROLLED.serializer("csrf").loads(before) == "value"
    after = ROLLED.serializer("csrf").dumps("value")
    assert SecretKeys((NEW,)).serializer("csrf").loads(after) == "value"
    for keys, signed in [(KEYS, after), (SecretKeys((NEW,)), before)]:
        with pytest.raises(BadSignature):
            keys.serializer("csrf").loads(signed)


def test_derived_keys_differ_by_purpose_and_by_secret() -> None:
    """And are the same for the same purpose and secret."""
    derived = {keys.derived(purpose) for keys in (KEYS, ROLLED) for purpose in (*PURPOSES, "", "seal csrf")}
    assert len(derived) == 10
    assert all(len(key) == 32 for key in derived)
    assert ROLLED.derived("csrf", KEYS.newest) == KEYS.derived("csrf")
    assert ROLLED.derived("csrf") == SecretKeys((NEW,)).derived("csrf")


def test_a_key_that_was_dropped_derives_nothing() -> None:
    """Only its id is named, never a key."""
    with pytest.raises(SealBroken, match=f"key {ROLLED.newest} is no longer in SECRET_KEY") as caught:
        KEYS.derived("csrf", ROLLED.newest)
    assert NEW not in str(caught.value)
    assert not KEYS.knows(ROLLED.newest)
    assert ROLLED.knows(KEYS.newest)


def test_a_keys_id_tells_nothing_of_the_key() -> None:
    """Eight hexadecimal digits of a digest, different for each key."""
    ids = {SecretKeys((value,)).newest for value in (OLD, NEW, "x" * 40)}
    assert len(ids) == 3
    for key_id in ids:
        assert len(key_id) == 8
        assert set(key_id) <= set(string.hexdigits)


def test_a_seal_opens_with_the_key_that_made_it() -> None:
    """Even after newer keys are added, when it reports that it should be sealed again."""
    sealed = KEYS.seal("signing key", b"private")
    assert b"private" not in sealed
    assert ROLLED.opened("signing key", sealed) == b"private"
    assert KEYS.seals_with_newest(sealed)
    assert not ROLLED.seals_with_newest(sealed)
    assert ROLLED.seals_with_newest(ROLLED.seal("signing key", b"private"))
    assert KEYS.opened("signing key", KEYS.seal("signing key", b"")) == b""


def test_two_seals_of_the_same_differ() -> None:
    """Each has a nonce of its own."""
    assert len({KEYS.seal("signing key", b"private") for _ in range(50)}) == 50


def test_a_seal_opens_for_its_own_purpose_alone() -> None:
    """A sealed secret put in a signing key's place is detected."""
    with pytest.raises(SealBroken, match="the sealed refresh was changed"):
        KEYS.opened("refresh", KEYS.seal("registration", b"secret"))


def test_a_seal_notices_every_changed_bit() -> None:
    """Whether in the key's id, the nonce or the rest."""
    sealed = KEYS.seal("signing key", b"private")
    for place in range(len(sealed)):
        changed = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
        with pytest.raises(SealBroken):
            KEYS.opened("signing key", changed)


def test_a_seal_that_was_cut_short_is_broken() -> None:
    """At any length, including nothing at all."""
    sealed = KEYS.seal("signing key", b"private")
    for length in range(len(sealed)):
        with pytest.raises(SealBroken):
            KEYS.opened("signing key", sealed[:length])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80))
def test_nothing_that_nobody_sealed_opens(sealed: bytes) -> None:
    """Whatever the database contains, opening it raises SealBroken and no other exception."""
    for candidate in (sealed, KEYS.newest.encode() + sealed):
        with pytest.raises(SealBroken):
            KEYS.opened("signing key", candidate)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=6), max_size=4), st.lists(st.binary(max_size=6), max_size=4))
def test_two_lists_of_parts_have_one_digest_only_when_they_are_equal(one: list[bytes], other: list[bytes]) -> None:
    """``ab`` and ``c`` are not ``a`` and ``bc``."""
    assert (crypto.keyed_digest(b"k", *one) == crypto.keyed_digest(b"k", *other)) == (one == other)


@pytest.mark.clause("A8.random")
def test_tokens_are_random_and_say_their_kind() -> None:
    """256 bits behind a prefix."""
    tokens = {crypto.opaque_token("gp_rt_") for _ in range(100)}
    assert len(tokens) == 100
    for token in tokens:
        assert token.startswith("gp_rt_")
        assert len(_decoded(token.removeprefix("gp_rt_"))) == 32


def test_only_a_tokens_hash_is_kept() -> None:
    """SHA-256, even of a value that no client can have been given."""
    assert crypto.token_hash("gp_rt_x") == hashlib.sha256(b"gp_rt_x").digest()
    assert len(crypto.token_hash("\ud800 \N{SNOWMAN}")) == 32
