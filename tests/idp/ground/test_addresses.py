"""Mail addresses: one mailbox per request, one key per mailbox, and nothing ambiguous."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gatepost_idp.settings import Settings
from gatepost_idp.signin import addresses
from gatepost_idp.signin.addresses import Address, may_sign_in, may_sign_up


@pytest.mark.parametrize(
    ("typed", "mailbox", "key", "rate_key"),
    [
        ("alice@example.com", "alice@example.com", "alice@example.com", "alice@example.com"),
        ("  alice@example.com\n", "alice@example.com", "alice@example.com", "alice@example.com"),
        ("Alice.B@Example.COM", "Alice.B@example.com", "alice.b@example.com", "alice.b@example.com"),
        ("alice+mcp@example.com", "alice+mcp@example.com", "alice+mcp@example.com", "alice@example.com"),
        ("Alice+A+B@example.com", "Alice+A+B@example.com", "alice+a+b@example.com", "alice@example.com"),
        ("o'brien-x_y@example.com", "o'brien-x_y@example.com", "o'brien-x_y@example.com", "o'brien-x_y@example.com"),
        (
            "a@b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example",
            "a@xn--bcher-kva.example",
            "a@xn--bcher-kva.example",
            "a@xn--bcher-kva.example",
        ),
        (
            "a@B\N{LATIN CAPITAL LETTER U WITH DIAERESIS}CHER.example",
            "a@xn--bcher-kva.example",
            "a@xn--bcher-kva.example",
            "a@xn--bcher-kva.example",
        ),
        ("a@xn--bcher-kva.example", "a@xn--bcher-kva.example", "a@xn--bcher-kva.example", "a@xn--bcher-kva.example"),
    ],
)
def test_an_address_has_one_reading(typed: str, mailbox: str, key: str, rate_key: str) -> None:
    """Case and the domain's encoding do not make another person; a tag is kept, but counted with its mailbox."""
    assert addresses.parse(typed) == Address(mailbox, key, rate_key)


REFUSED = [
    "",
    " ",
    "alice",
    "@example.com",
    "alice@",
    "alice@example",
    "alice@@example.com",
    "alice@example.com@evil.example",
    # Two mailboxes in one, as in NextAuth CVE-2022-35924.
    "alice@example.com,mallory@evil.example",
    "alice@example.com, mallory@evil.example",
    "alice@example.com;mallory@evil.example",
    "alice@example.com mallory@evil.example",
    "alice@example.com\tmallory@evil.example",
    "alice@example.com%0amallory@evil.example",
    "mallory@evil.example,alice@example.com",
    "alice,mallory@evil.example",
    # Display names, comments, quotes, groups.
    "Alice <alice@example.com>",
    "<alice@example.com>",
    '"alice"@example.com',
    '"alice@example.com"@evil.example',
    '"a,b"@example.com',
    "alice(comment)@example.com",
    "alice@(comment)example.com",
    "alice\\@example.com",
    "friends:alice@example.com;",
    # Lines and controls.
    "alice@example.com\r\nBcc: mallory@evil.example",
    "alice\n@example.com",
    "alice\0@example.com",
    "alice@example.com\0",
    "alice\x7f@example.com",
    # Look-alike and invisible letters.
    "\N{CYRILLIC SMALL LETTER A}lice@example.com",
    "al\N{LATIN SMALL LETTER DOTLESS I}ce@example.com",
    "\N{FULLWIDTH LATIN SMALL LETTER A}lice@example.com",
    "alice\N{ZERO WIDTH SPACE}@example.com",
    "alice\N{RIGHT-TO-LEFT OVERRIDE}@example.com",
    "alice\N{FULLWIDTH COMMERCIAL AT}example.com",
    "alice@example\N{ZERO WIDTH SPACE}.com",
    # Invalid domains.
    "alice@localhost",
    "alice@127.0.0.1",
    "alice@[127.0.0.1]",
    "alice@[IPv6:::1]",
    "alice@-example.com",
    "alice@example..com",
    "alice@.example.com",
    "alice@exa_mple.com",
    # Invalid local parts.
    ".alice@example.com",
    "alice.@example.com",
    "al..ice@example.com",
    "alice@" + "a" * 64 + ".com",
    "alice@" + "a." * 130 + "com",
    "\ud800@example.com",
]


@pytest.mark.parametrize("typed", REFUSED)
def test_what_could_be_read_twice_is_refused(typed: str) -> None:
    """Refused outright: what one parser reads as two mailboxes another reads as one."""
    assert addresses.parse(typed) is None


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=40), st.emails()))
@example("alice@example.com")
def test_a_mailbox_is_one_ascii_token(typed: str) -> None:
    """No input raises; an accepted address has one @, no space, no comma, and parses to itself."""
    found = addresses.parse(typed)
    if found is None:
        return
    assert found.mailbox.isascii()
    assert found.mailbox.count("@") == 1
    assert not set(found.mailbox) & set(' ,;<>"()\\\r\n\t\0')
    assert addresses.parse(found.mailbox) == found
    again = addresses.parse(found.key)
    assert again is not None
    assert again.key == found.key


def signup(**changes: object) -> Settings:
    return Settings.model_validate({"secret_key": "k" * 32, **changes})


@pytest.mark.parametrize(
    ("mode", "key", "is_invited", "verdict"),
    [
        ("open", "a@any.example", False, True),
        ("closed", "a@any.example", False, False),
        ("closed", "a@any.example", True, False),
        ("invite", "a@any.example", False, False),
        ("invite", "a@any.example", True, True),
        ("domains", "a@example.com", False, True),
        ("domains", "a@any.example", False, False),
        ("domains", "a@any.example", True, True),
        ("domains", "a@sub.example.com", False, False),
        ("domains", "a@evilexample.com", False, False),
        ("domains", "a@example.com.evil.example", False, False),
        ("domains", "example.com@evil.example", False, False),
        ("domains", "a@deep.sub.example.org", False, True),
        ("domains", "a@example.org", False, False),
        ("domains", "a@evilexample.org", False, False),
    ],
)
def test_signup_lets_in_whom_it_says(mode: str, key: str, is_invited: bool, verdict: bool) -> None:
    """Domains in any spelling, with ``*.`` for subdomains."""
    configured = signup(signup=mode, signup_domains="Example.COM,*.example.org")
    assert may_sign_up(configured, key, is_invited) is verdict


def test_a_denial_wins_over_an_allowance() -> None:
    """For addresses and domains; an empty allow list allows everybody."""
    configured = signup(email_allow="example.com,bob@other.example", email_deny="Mallory@example.com,*.example.com")
    for key, verdict in [
        ("alice@example.com", True),
        ("mallory@example.com", False),
        ("alice@sub.example.com", False),
        ("bob@other.example", True),
        ("alice@other.example", False),
    ]:
        assert may_sign_in(configured, key) is verdict
    assert may_sign_in(signup(email_deny="evil.example"), "alice@example.com")
    assert not may_sign_in(signup(email_deny="evil.example"), "alice@evil.example")
