"""OAuth parameters: each once, in UTF-8, without NUL; only resource may repeat."""

from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatepost_idp import parameters
from gatepost_idp.parameters import MAX_BYTES, Parameters, parse
from gatepost_idp.protocol import Refused


def parsed(encoded: str) -> Parameters:
    found = parse(encoded)
    assert isinstance(found, Parameters), found
    return found


def test_parameters_are_decoded() -> None:
    """Plus is a space, percent-encoding is UTF-8, an equals sign in a value stays, and order does not matter."""
    found = parsed("state=a+b%20c%2B%C3%BC%3D==&client_id=x&empty=&bare")
    assert found.get("state") == "a b c+\N{LATIN SMALL LETTER U WITH DIAERESIS}==="
    assert found.get("client_id") == "x"
    assert found.check_single() is None


def test_an_empty_value_counts_as_absent() -> None:
    """RFC 6749 section 3.1."""
    found = parsed("scope=&state&resource=&client_id=x")
    assert (found.get("scope"), found.get("state"), found.resource) == (None, None, None)
    assert parsed("").values == {}
    assert parsed("&&&").values == {}


@pytest.mark.clause("A13")
def test_unknown_parameters_are_ignored() -> None:
    """They harm nothing, whatever they are called."""
    found = parsed("client_id=x&utm_source=mail&__proto__=1&%F0%9F%8C%8D=1")
    assert found.get("client_id") == "x"
    assert found.check_single() is None


@pytest.mark.parametrize(
    "encoded",
    [
        "state=%00",
        "st%00ate=x",
        "state=a%00b",
        "state=%ff",
        "state=%C3",
        "state=%C3%28",
        "state=%C0%80",
        "state=%ED%A0%80",
        "state=%F5%80%80%80",
        "%ff=x",
        "state=\N{LATIN SMALL LETTER U WITH DIAERESIS}",
        "state=\udcff",
        "&".join(f"p{n}=1" for n in range(101)),
        "a=" + "x" * MAX_BYTES,
    ],
    ids=[
        "NUL", "NUL in a name", "NUL inside", "no UTF-8", "cut short", "bad continuation", "overlong", "surrogate",
        "beyond Unicode", "no UTF-8 in a name", "raw bytes", "raw broken bytes", "a hundred and one", "too long",
    ],
)  # fmt: skip  # one list of names
def test_what_cannot_be_read_is_an_invalid_request(encoded: str) -> None:
    """One error in constant ASCII, which repeats nothing of the input."""
    refused = parse(encoded)
    assert isinstance(refused, Refused)
    assert refused.error == "invalid_request"
    assert refused.description.isascii()
    assert '"' not in refused.description


def test_what_is_just_small_enough_is_read() -> None:
    """Values exactly at the limits are accepted."""
    assert len(parsed("&".join(f"p{n}=1" for n in range(100))).values) == 100
    assert parsed("a=" + "x" * (MAX_BYTES - 2)).get("a") == "x" * (MAX_BYTES - 2)


@pytest.mark.parametrize("name", ["client_id", "redirect_uri", "state", "code", "scope", "unknown"])
@pytest.mark.parametrize("values", [("a", "b"), ("a", "a"), ("", "a"), ("a", "")])
def test_a_repeated_parameter_is_an_invalid_request(name: str, values: tuple[str, str]) -> None:
    """Even with equal values: another parser might read the other one."""
    found = parsed(urlencode([(name, values[0]), ("x", "1"), (name, values[1])]))
    refused = found.check_single()
    assert refused is not None
    assert refused.error == "invalid_request"
    assert found.repeats_who_asks is (name in ("client_id", "redirect_uri"))


def test_a_name_repeats_however_it_is_encoded() -> None:
    """Percent-encoding does not make another name."""
    assert parsed("client_id=a&%63lient_id=b").repeats_who_asks
    assert not parsed("client_id=a&Client_id=b").repeats_who_asks


@pytest.mark.clause("A7")
def test_resource_may_repeat() -> None:
    """Equal ones count once, as Codex sends them; different ones are an invalid target, and are recorded."""
    once = parsed("resource=https://a.example&resource=https://a.example&resource=")
    assert (once.resource, once.check_single()) == ("https://a.example", None)
    twice = parsed("resource=https://a.example&resource=https://b.example")
    refused = twice.check_single()
    assert refused is not None
    assert refused.error == "invalid_target"
    assert twice.resources == ("https://a.example", "https://b.example")
    assert parsed("client_id=x").resource is None


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=200), st.text("%&=+;abc0F\0", max_size=60)))
def test_nothing_that_is_sent_raises(encoded: str) -> None:
    """Any input is read or refused; the result has no NUL and no empty value."""
    found = parse(encoded)
    if isinstance(found, Refused):
        return
    found.check_single()
    assert all(value and "\0" not in value for value in found.values.values())


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=10), st.text(min_size=1, max_size=30), max_size=8))
def test_what_a_client_encodes_comes_back_byte_for_byte(sent: dict[str, str]) -> None:
    """VS Code's state can be a whole URL, which must not change."""
    try:
        encoded = urlencode(sent, quote_via=quote)
    except UnicodeEncodeError:
        return  # lone surrogates cannot be sent by a client
    if "%00" in encoded:
        assert isinstance(parse(encoded), Refused)
    else:
        assert parsed(encoded).values == sent
    assert parameters.MAX_FIELDS >= 8
