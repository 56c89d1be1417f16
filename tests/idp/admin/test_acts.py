"""An administrator's acts are authorized in the transaction that carries them out."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gatepost_idp.admin.acts import Act, Acts
from gatepost_idp.database import Database
from gatepost_idp.errors import PageProblem
from gatepost_idp.models import Account
from gatepost_idp.store import accounts, schema
from gatepost_idp.store.accounts import Session
from gatepost_idp.store.audit import NOWHERE
from gatepost_idp.transaction import Transaction

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A database without people."""
    opened = Database(f"sqlite:///{tmp_path / 'gatepost.db'}")
    schema.upgrade(opened.engine)
    yield opened
    opened.close()


@pytest.mark.parametrize(("role", "may"), [("admin", True), ("", False)])
async def test_a_role_that_went_between_the_page_and_the_act_lets_nothing_through(
    database: Database, role: str, may: bool
) -> None:
    """The role is checked again in the transaction of the act, which changes nothing without it."""

    def person(tx: Transaction) -> Session:
        account = accounts.sign_up(tx, "admin@example.com", "admin@example.com", [], NOW)
        account.role = role
        tx.session.add(account)
        return Session(account.id, account.email, NOW, seen_lately=True)

    act = Act(await database.write(person), NOWHERE)
    acts = Acts(database, lambda: NOW)

    def work(tx: Transaction, now: datetime) -> None:
        accounts.set_disabled(tx, act.admin.account_id, now)

    if may:
        await acts.do(act, work)
    else:
        with pytest.raises(PageProblem):
            await acts.do(act, work)
    disabled = await database.read(lambda tx: tx.session.get(Account, act.admin.account_id))
    assert disabled is not None
    assert (disabled.disabled_at is not None) is may
