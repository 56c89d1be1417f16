"""Authorization requests between /authorize and their answer: 30 minutes, bound to one browser, answered once."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam
from sqlmodel import col, update

from gatepost_idp.models import AuthorizationRequest
from gatepost_idp.protocol import instant, milliseconds, scope_set, scope_text
from gatepost_idp.transaction import Query, Transaction, columns, insert_query

LIFE = timedelta(minutes=30)
"""How long a request lives, and so the longest that a sign-in for it can take."""


@dataclass(frozen=True, slots=True)
class Request:
    """A checked request from /authorize (OAuth 2.1 section 4.1.1)."""

    id: str
    trace_id: str
    client_id: str
    client_row: str
    redirect_uri: str
    state: str | None
    scope: tuple[str, ...]
    resource: str
    resource_named: bool
    code_challenge: str
    nonce: str | None
    prompt: tuple[str, ...]
    max_age: int | None
    created_at: datetime
    finished: bool = False

    @property
    def is_own(self) -> bool:
        """Whether it ends at a page of this server, at the path ``redirect_uri``, instead of a client."""
        return self.client_id == ""


_INSERT = insert_query(AuthorizationRequest)
_COLUMNS = (
    "id", "trace_id", "client_id", "client_row", "redirect_uri", "state", "scope", "resource", "resource_named",
    "code_challenge", "nonce", "prompt", "max_age", "created_at", "finished_at",
)  # fmt: skip  # one list of names
_FIND = Query(
    columns(*(getattr(AuthorizationRequest, name) for name in _COLUMNS)).where(
        col(AuthorizationRequest.id) == bindparam("id"),
        col(AuthorizationRequest.browser_hash) == bindparam("browser_hash"),
        col(AuthorizationRequest.expires_at) > bindparam("now"),
    )
)
_LIVES = Query(
    columns(AuthorizationRequest.id).where(
        col(AuthorizationRequest.id) == bindparam("id"), col(AuthorizationRequest.expires_at) > bindparam("now")
    )
)
_FINISH = Query(
    update(AuthorizationRequest)
    .where(col(AuthorizationRequest.id) == bindparam("of"), col(AuthorizationRequest.finished_at).is_(None))
    .values(finished_at=bindparam("now"))
)


def add(tx: Transaction, request: Request, browser_hash: bytes, expires_at: datetime) -> None:
    """Stores a request, bound to the browser that made it."""
    tx.run(
        _INSERT,
        id=request.id,
        browser_hash=browser_hash,
        trace_id=request.trace_id,
        client_id=request.client_id,
        client_row=request.client_row,
        redirect_uri=request.redirect_uri,
        state=request.state,
        scope=scope_text(request.scope),
        resource=request.resource,
        resource_named=request.resource_named,
        code_challenge=request.code_challenge,
        nonce=request.nonce,
        prompt=scope_text(request.prompt),
        max_age=request.max_age,
        created_at=milliseconds(request.created_at),
        expires_at=milliseconds(expires_at),
        finished_at=None,
    )


def find(tx: Transaction, request_id: str, browser_hash: bytes, now: datetime) -> Request | None:
    """The request, if this browser made it and it has not expired, else None; it may be ``finished``."""
    row = tx.one(_FIND, id=request_id, browser_hash=browser_hash, now=milliseconds(now))
    if row is None:
        return None
    values = dict(zip(_COLUMNS, row, strict=True))
    finished_at = values.pop("finished_at")
    values |= {
        "scope": scope_set(values["scope"]),
        "prompt": scope_set(values["prompt"]),
        "resource_named": bool(values["resource_named"]),
        "created_at": instant(values["created_at"]),
    }
    return Request(**values, finished=finished_at is not None)


def lives(tx: Transaction, request_id: str, now: datetime) -> bool:
    """Whether the request has not expired, whichever browser made it."""
    return tx.one(_LIVES, id=request_id, now=milliseconds(now)) is not None


def finish(tx: Transaction, request_id: str, now: datetime) -> bool:
    """Claims the one answer that a request may have; False if it was claimed before."""
    return tx.run(_FINISH, of=request_id, now=milliseconds(now)) == 1
