"""The database tables. Instants are milliseconds since the epoch; tokens are stored as hashes, keys sealed."""

from functools import cache
from typing import Any, cast

from sqlalchemy import BigInteger, Index, LargeBinary, MetaData, UniqueConstraint, false, text
from sqlmodel import Field, SQLModel

SCHEMA = "0007"
"""The migration that these tables match; the server refuses any other schema."""

SQLModel.metadata.naming_convention = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
).naming_convention


def _instant(**options: Any) -> Any:
    return Field(sa_type=BigInteger, **options)


def _added(**options: Any) -> Any:
    """A text column added by a later migration; empty in older rows."""
    return Field(default="", sa_column_kwargs={"server_default": text("''")}, **options)


def _bytes(**options: Any) -> Any:
    return Field(sa_type=LargeBinary, **options)


class Account(SQLModel, table=True):
    """A person, identified by one mailbox."""

    id: str = Field(primary_key=True)
    email: str
    email_key: str = Field(unique=True)
    role: str = ""
    created_at: int = _instant()
    seen_at: int = _instant()
    disabled_at: int | None = _instant(default=None, nullable=True)


class Entitlement(SQLModel, table=True):
    """A scope that a person holds at a resource."""

    account_id: str = Field(primary_key=True, foreign_key="account.id", ondelete="CASCADE")
    resource: str = Field(primary_key=True)
    scope: str = Field(primary_key=True)
    granted_at: int = _instant()


class BrowserSession(SQLModel, table=True):
    """A person's session in one browser: 30 days, at most 7 of them idle."""

    __tablename__ = "browser_session"
    token_hash: bytes = _bytes(primary_key=True)
    account_id: str = Field(foreign_key="account.id", index=True, ondelete="CASCADE")
    auth_time: int = _instant()
    seen_at: int = _instant()
    expires_at: int = _instant(index=True)
    ended_at: int | None = _instant(default=None, nullable=True)
    browser: str = ""
    network: str = ""


class Client(SQLModel, table=True):
    """A client: one row for each kind of public registration, and for each confidential, manual or document client.

    ``created_at`` of a kind is its latest registration, accurate to a day.
    """

    id: str = Field(primary_key=True)
    origin: str = Field(index=True)
    name: str = ""
    registration: str
    secret_hash: bytes | None = _bytes(default=None, nullable=True)
    resource: str = _added()
    created_at: int = _instant()
    disabled_at: int | None = _instant(default=None, nullable=True)

    __table_args__ = (Index("ix_client_created_at_id", "created_at", "id"),)


class ClientDocument(SQLModel, table=True):
    """A client's metadata document as last fetched; ``client_row`` refers to its content."""

    __tablename__ = "client_document"
    url: str = Field(primary_key=True)
    client_row: str
    etag: str = ""
    checks_iss: bool = False
    fetched_at: int = _instant()
    fresh_until: int = _instant()
    used_at: int = _instant(index=True)
    disabled_at: int | None = _instant(default=None, nullable=True)


class AuthorizationRequest(SQLModel, table=True):
    """A checked request at /authorize, bound to the browser that made it; lives 30 minutes."""

    __tablename__ = "authorization_request"
    id: str = Field(primary_key=True)
    browser_hash: bytes = _bytes()
    trace_id: str
    client_id: str
    client_row: str = Field(index=True)
    redirect_uri: str
    state: str | None = None
    scope: str
    resource: str
    resource_named: bool
    code_challenge: str
    nonce: str | None = None
    prompt: str = ""
    max_age: int | None = None
    created_at: int = _instant()
    expires_at: int = _instant(index=True)
    finished_at: int | None = _instant(default=None, nullable=True)


class SignInAttempt(SQLModel, table=True):
    """One mailed link and code: pending, then consumed, cancelled, locked or expired."""

    __tablename__ = "sign_in_attempt"
    id: str = Field(primary_key=True)
    request_id: str = Field(foreign_key="authorization_request.id", index=True, ondelete="CASCADE")
    browser_hash: bytes = _bytes()
    email: str
    email_key: str
    seed: bytes = _bytes()
    key_id: str
    reference: str
    state: str
    wrong_codes: int
    browser: str
    network: str
    created_at: int = _instant()
    expires_at: int = _instant(index=True)
    accepted_at: int | None = _instant(default=None, nullable=True)
    polled_at: int | None = _instant(default=None, nullable=True)
    resend_at: int = _instant()


class Outbox(SQLModel, table=True):
    """A queued mail, rendered only when sent, from its attempt's seed or from the grant that it reports."""

    id: str = Field(primary_key=True)
    attempt_id: str | None = Field(
        default=None, foreign_key="sign_in_attempt.id", index=True, nullable=True, ondelete="CASCADE"
    )
    grant_id: str = _added()
    recipient: str
    message_id: str
    state: str
    tries: int
    next_at: int = _instant()
    lease_until: int = _instant()
    created_at: int = _instant()
    answer: str = ""

    __table_args__ = (Index("ix_outbox_state_next_at", "state", "next_at"),)


class Invitation(SQLModel, table=True):
    """An address that may sign up if SIGNUP is invite or domains."""

    email_key: str = Field(primary_key=True)
    invited_at: int = _instant()


class MailSuppression(SQLModel, table=True):
    """An address that the mail server refused permanently; no mail is sent there before ``until``."""

    __tablename__ = "mail_suppression"
    email_key: str = Field(primary_key=True)
    until: int = _instant(index=True)
    answer: str


class Consent(SQLModel, table=True):
    """A remembered consent of a person for one client id, redirect host and resource."""

    id: str = Field(primary_key=True)
    account_id: str = Field(foreign_key="account.id", ondelete="CASCADE")
    client_id: str
    client_row: str = Field(index=True)
    redirect_host: str
    resource: str
    scope_asked: str
    scope_approved: str
    granted_at: int = _instant()
    expires_at: int = _instant(index=True)

    __table_args__ = (
        UniqueConstraint("account_id", "client_id", "redirect_host", "resource"),
        Index("ix_consent_kind", "account_id", "client_row", "redirect_host", "resource"),
    )


class AuthorizationCode(SQLModel, table=True):
    """A code between /authorize and /token: one minute, one use (OAuth 2.1 section 4.1.2)."""

    __tablename__ = "authorization_code"
    code_hash: bytes = _bytes(primary_key=True)
    grant_id: str
    account_id: str = Field(foreign_key="account.id", ondelete="CASCADE")
    client_id: str
    client_row: str
    redirect_uri: str
    code_challenge: str
    resource: str
    scope: str
    nonce: str | None = None
    auth_time: int = _instant()
    trace_id: str
    browser: str = _added()
    network: str = _added()
    announced: bool = Field(default=False, sa_column_kwargs={"server_default": false()})
    expires_at: int = _instant(index=True)
    spent_at: int | None = _instant(default=None, nullable=True)
    wrong_verifiers: int = 0


class AuthorizationGrant(SQLModel, table=True):
    """A connection: the grant behind a family of refresh tokens; lasts at most a year."""

    __tablename__ = "authorization_grant"
    id: str = Field(primary_key=True)
    account_id: str = Field(foreign_key="account.id", index=True, ondelete="CASCADE")
    client_id: str
    client_row: str = Field(index=True)
    resource: str
    scope: str
    redirect_uri: str = _added()
    browser: str = _added()
    network: str = _added()
    auth_time: int = _instant()
    trace_id: str
    created_at: int = _instant()
    used_at: int = _instant()
    ends_at: int = _instant(index=True)
    ended_at: int | None = _instant(default=None, nullable=True)
    end_reason: str = ""


class RefreshToken(SQLModel, table=True):
    """A refresh token of a family. The salt is kept only while a repeat may still compute the successor."""

    __tablename__ = "refresh_token"
    token_hash: bytes = _bytes(primary_key=True)
    grant_id: str = Field(foreign_key="authorization_grant.id", index=True, ondelete="CASCADE")
    expires_at: int = _instant(index=True)
    spent_at: int | None = _instant(default=None, nullable=True)
    salt: bytes | None = _bytes(default=None, nullable=True)


class PersonalToken(SQLModel, table=True):
    """A personal token, made by a person for a client that cannot do OAuth; shown once, stored as a hash."""

    __tablename__ = "personal_token"
    token_hash: bytes = _bytes(primary_key=True)
    id: str = Field(unique=True)
    account_id: str = Field(foreign_key="account.id", index=True, ondelete="CASCADE")
    name: str
    resource: str
    scope: str
    created_at: int = _instant()
    used_at: int | None = _instant(default=None, nullable=True)
    expires_at: int = _instant(index=True)
    ended_at: int | None = _instant(default=None, nullable=True)


class SigningKey(SQLModel, table=True):
    """A key for tokens: published at once, signs from ``active_at``, verifies until ``retired_at``."""

    __tablename__ = "signing_key"
    kid: str = Field(primary_key=True)
    algorithm: str
    public_jwk: str
    sealed_jwk: bytes = _bytes()
    created_at: int = _instant()
    active_at: int = _instant()
    retired_at: int | None = _instant(default=None, nullable=True)


class ServerSecret(SQLModel, table=True):
    """A secret of the server, shared by all processes and stored sealed."""

    __tablename__ = "server_secret"
    name: str = Field(primary_key=True)
    sealed: bytes = _bytes()


class LimitWindow(SQLModel, table=True):
    """How often something happened in one window of time."""

    __tablename__ = "limit_window"
    key: str = Field(primary_key=True)
    count: int
    expires_at: int = _instant(index=True)


class TraceStep(SQLModel, table=True):
    """A step of an authorization, for ``gatepost trace``; kept for a day, without secrets."""

    __tablename__ = "trace_step"
    id: str = Field(primary_key=True)
    at: int = _instant(index=True)
    trace_id: str = Field(index=True)
    client_id: str = Field(default="", index=True)
    network: str = ""
    step: str
    outcome: str
    detail: str = ""

    __table_args__ = (Index("ix_trace_step_network_at", "network", "at"),)


class AuditEvent(SQLModel, table=True):
    """A security event: who, what, when, from where, under which trace.

    ``account_id``, ``address``, ``network`` and ``salt`` are blanked when the person is deleted; the rest stays and is
    sealed in ``batch``. ``who`` is the salted digest of the first three.
    """

    __tablename__ = "audit_event"
    id: str = Field(primary_key=True)
    at: int = _instant(index=True)
    event: str
    account_id: str = Field(default="", index=True)
    client_id: str = ""
    grant_id: str = ""
    trace_id: str = ""
    network: str = ""
    detail: str = ""
    actor: str = _added()
    address: str = _added()
    batch: int | None = _instant(default=None, nullable=True)
    salt: bytes | None = _bytes(default=None, nullable=True)
    who: bytes | None = _bytes(default=None, nullable=True)

    __table_args__ = (Index("ix_audit_event_batch_id", "batch", "id"),)


class AuditBatch(SQLModel, table=True):
    """The seal of a batch of events: ``leaves`` are their digests, 32 bytes each, ordered by id."""

    __tablename__ = "audit_batch"
    number: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    sealed_at: int = _instant()
    previous: bytes = _bytes()
    leaves: bytes = _bytes()
    digest: bytes = _bytes()


class Lease(SQLModel, table=True):
    """The right of one process at a time to do a background task."""

    name: str = Field(primary_key=True)
    holder: str
    until: int = _instant()


@cache
def partial_indexes() -> None:
    """Adds the partial indexes to the metadata; needed only to create or compare a schema.

    SQLAlchemy loads every dialect for which an index has options; the unused one would cost a start 2 MiB and 30 ms.
    """
    grants, tokens, events = (cast(Any, each).__table__.c for each in (AuthorizationGrant, RefreshToken, AuditEvent))
    _partial("ix_authorization_grant_ended_at", grants.ended_at, grants.ended_at.is_not(None))
    _partial("ix_refresh_token_salted", tokens.spent_at, tokens.salt.is_not(None))
    _partial("ix_audit_event_trace_id", events.trace_id, events.trace_id != "")  # events of commands have none


def _partial(name: str, column: Any, where: Any) -> None:
    Index(name, column, sqlite_where=where, postgresql_where=where)
