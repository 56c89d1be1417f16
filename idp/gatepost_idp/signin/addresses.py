"""Mail addresses: parses exactly one mailbox, and decides which mailboxes may sign in or sign up."""

from dataclasses import dataclass

from email_validator import EmailNotValidError, validate_email

from gatepost_idp.settings import Settings

_TRICKS = frozenset(',;<>"()\\\r\n\0\t ')


@dataclass(frozen=True, slots=True)
class Address:
    """``mailbox``: where mail goes. ``key``: its lower-case form, the identity. ``rate_key``: ``key`` without +tag."""

    mailbox: str
    key: str
    rate_key: str


def parse(typed: str) -> Address | None:
    """The one mailbox that was typed, else None.

    Commas, quotes, comments and display names are refused: one parser may read two mailboxes where another reads one
    (NextAuth CVE-2022-35924).
    """
    text = typed.strip()
    if _TRICKS.intersection(text):
        return None
    try:
        valid = validate_email(
            text, check_deliverability=False, allow_smtputf8=False, allow_quoted_local=False, test_environment=True
        )
    except EmailNotValidError:
        return None
    local, domain = str(valid.local_part), str(valid.ascii_domain).lower()
    name = local.lower()
    return Address(f"{local}@{domain}", f"{name}@{domain}", f"{name.partition('+')[0]}@{domain}")


def may_sign_in(settings: Settings, key: str) -> bool:
    """Whether EMAIL_DENY and EMAIL_ALLOW let the mailbox ``key`` in at all; a denial wins."""
    if any(_matches(key, entry) for entry in settings.email_deny):
        return False
    return not settings.email_allow or any(_matches(key, entry) for entry in settings.email_allow)


def may_sign_up(settings: Settings, key: str, is_invited: bool) -> bool:
    """Whether SIGNUP allows a new account for the mailbox ``key``; an invitation suffices unless SIGNUP=closed."""
    if settings.signup == "closed":
        return False
    if settings.signup == "open" or is_invited:
        return True
    return settings.signup == "domains" and any(_matches(key, domain) for domain in settings.signup_domains)


def _matches(key: str, entry: str) -> bool:
    """``entry``: an address (with all its +tags), a domain, or ``*.`` and a domain for all its subdomains."""
    local, _, domain = key.rpartition("@")
    if entry.startswith("*."):
        return domain.endswith(entry[1:])
    return entry in (key, domain, f"{local.partition('+')[0]}@{domain}")
