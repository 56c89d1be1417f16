"""Deletes accounts that have been idle for longer than ACCOUNT_IDLE_DAYS, if the operator set it."""

from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, select
from sqlmodel import col, update

from gatepost_idp.models import Account, AuthorizationGrant, BrowserSession, PersonalToken
from gatepost_idp.protocol import milliseconds
from gatepost_idp.store import audit, personal_data
from gatepost_idp.transaction import Query, Transaction, columns

PAGE = 100


def _last(account_id: Any, instant: Any) -> Any:
    return select(func.max(instant)).where(col(account_id) == col(Account.id)).scalar_subquery()


_PAGE = Query(
    columns(
        Account.id,
        Account.role,
        Account.disabled_at,
        Account.seen_at,
        _last(BrowserSession.account_id, BrowserSession.seen_at),
        _last(AuthorizationGrant.account_id, AuthorizationGrant.used_at),
        _last(PersonalToken.account_id, PersonalToken.used_at),
    )
    .where(col(Account.id) > bindparam("after"))
    .order_by(col(Account.id))
    .limit(PAGE)
)
# Changes nothing if somebody signs in to the account concurrently; the account then stays.
_SEEN = Query(
    update(Account)
    .where(col(Account.id) == bindparam("of"), col(Account.seen_at) == bindparam("before"))
    .values(seen_at=bindparam("at"))
)


def delete_idle(tx: Transaction, after: str, idle_since: datetime, now: datetime) -> tuple[int, str]:
    """Deletes those of the next page of accounts after the id ``after`` that were last used before ``idle_since``.

    A use is a sign-in, a page, a refresh or a personal token. The last use is stored with the account, since ended
    sessions and connections are purged sooner. Administrators stay, or nobody could let people in, and so do disabled
    accounts, whose owners could sign up again. Returns how many were deleted and the id to continue after, empty after
    the last page.
    """
    page = tx.all(_PAGE, after=after)
    gone = 0
    for account_id, role, disabled_at, seen_at, *uses in page:
        last = max(at for at in (seen_at, *uses) if at is not None)
        is_idle = last < milliseconds(idle_since) and not role and disabled_at is None
        if (last > seen_at or is_idle) and tx.run(_SEEN, of=account_id, before=seen_at, at=last) and is_idle:
            personal_data.delete_account(tx, account_id)
            audit.record(tx, "account.deleted", now, detail="nobody used it")
            gone += 1
    return gone, str(page[-1][0]) if len(page) == PAGE else ""
