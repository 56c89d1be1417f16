"""Backups as operators make and use them: beside servers under load, on another machine, on another database."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.faults.load import Chain, Replicated, chains, nothing_lost, replicated, under_load
from tests.store.servers import Postgres
from tests.store.servers import running as postgresql
from tests.support.oauth import TestClient, answer_of
from tests.support.person import Person
from tests.support.processes import environment_of, run_gatepost
from tests.support.smtp import Postbox, receiving

KEY = "k" * 40
OTHER_KEY = "o" * 40


@pytest.fixture(scope="module")
def mails() -> Iterator[Postbox]:
    with receiving() as postbox:
        yield postbox


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with postgresql() as server:
        yield server


@pytest.fixture(params=["postgresql", "sqlite"])
def settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Two replicas on PostgreSQL, or one process on SQLite."""
    if request.param == "sqlite":
        return {"secret_key": (KEY,), "count": 1}
    return {"secret_key": (KEY,), "count": 2, "database_url": request.getfixturevalue("postgres").empty()}


def environment(database_url: str, key: str = KEY) -> dict[str, str]:
    return environment_of(DATABASE_URL=database_url, SECRET_KEY=key)


def gatepost(database_url: str, *arguments: str) -> dict[str, Any]:
    """The JSON output of a command of the group."""
    return dict(json.loads(run_gatepost(environment(database_url), "db", *arguments, "--json")))


def refused(database_url: str, *arguments: str, key: str = KEY) -> str:
    """The one line of a command that fails."""
    done = subprocess.run(
        [sys.executable, "-m", "gatepost_idp", "db", *arguments, "--json"],
        env=environment(database_url, key),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done
    return str(json.loads(done.stderr)["error"])


def kids(idp: Replicated) -> list[str]:
    """The ids of the keys it publishes."""
    return sorted(key["kid"] for key in idp.get("/jwks.json").json()["keys"])


def agreed_before(person: Person, client: TestClient) -> None:
    """Signs in by mail again; after that the earlier consent still holds, and nothing is asked."""
    person.open(client.authorize_url())
    mails = len(person.postbox.to(person.email))
    person.ask_for_mail()
    person.sign_in_by_code(mails + 1)
    silent = person.browser.get(client.authorize_url())
    assert silent.status_code == 302, "the consent is forgotten"
    assert client.redeem(answer_of(silent.headers["location"])["code"]).status_code == 200


def test_a_backup_made_under_load_brings_everything_back_but_lets_nobody_in(
    tmp_path: Path, mails: Postbox, settings: dict[str, Any]
) -> None:
    """A backup blocks nobody; once it is restored on a new machine people sign in again, registrations, consents and
    keys are still there, and each earlier token and session is refused."""
    (tmp_path / "old").mkdir()
    saved = tmp_path / "saved"
    with replicated(tmp_path / "old", mails, **settings) as idp:
        load = chains(idp, 4)
        with under_load(idp, load):
            time.sleep(0.3)
            answer = gatepost(idp.settings.database_url, "backup", str(saved))
            time.sleep(0.3)
        nothing_lost(idp, load)
        assert not any(chain.unavailable for chain in load)
        published = kids(idp)
    assert answer == {"file": str(saved), "bytes": saved.stat().st_size}
    assert saved.stat().st_mode & 0o777 == 0o600

    new = f"sqlite:///{tmp_path / 'new' / 'gatepost.db'}"
    found = gatepost(new, "restore", str(saved))
    assert found["ended"]["grants"] == len(load)
    assert found["ended"]["sessions"] == 1
    with replicated(tmp_path / "new", mails, 1, database_url=new, secret_key=(KEY,)) as idp:
        assert kids(idp) == published
        client = TestClient(idp, load[0].client.information)
        for chain in load:
            assert client.refresh(chain.token).status_code == 400
        with idp.person() as alice:
            agreed_before(alice, client)


def test_a_restore_without_the_right_key_or_an_empty_database_changes_nothing(tmp_path: Path, mails: Postbox) -> None:
    """One line says what is missing; with --force, and the old key before the new one, the restore succeeds."""
    with replicated(tmp_path, mails, 1, secret_key=(KEY,)) as idp:
        url, saved = idp.settings.database_url, tmp_path / "saved"
        gatepost(url, "backup", str(saved))
        assert "already exists" in refused(url, "backup", str(saved))
        assert "SECRET_KEY: it does not open the" in refused(
            f"sqlite:///{tmp_path / 'other' / 'new.db'}", "restore", str(saved), key=OTHER_KEY
        )
        assert "--force overwrites it" in refused(url, "restore", str(saved))
    restored = environment(url, f"{KEY},{OTHER_KEY}")
    assert "Ended 0 sessions, 0 connections and 0 personal tokens" in run_gatepost(
        restored, "db", "restore", str(saved), "--force"
    )


def test_a_move_to_postgresql_signs_nobody_out(tmp_path: Path, mails: Postbox, postgres: Postgres) -> None:
    """Tokens, keys and people go on as before; a second move is refused, since the target is not empty."""
    with replicated(tmp_path, mails, 1) as idp:
        load = chains(idp, 2)
        published = kids(idp)
    target = postgres.empty()
    gatepost(idp.settings.database_url, "copy", str(idp.settings.sqlite_path), target)
    assert "It is not empty" in refused(target, "copy", idp.settings.database_url, target)
    key = (tmp_path / "secret_key").read_text()
    with replicated(tmp_path, mails, 2, database_url=target, secret_key=(key,)) as moved:
        assert kids(moved) == published
        for chain in load:
            moved_chain = Chain(TestClient(moved, chain.client.information), chain.token)
            assert moved_chain.client.refresh(chain.token).status_code == 200
        assert httpx2.get(f"{moved.base}/readyz", trust_env=False).status_code == 200


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("copy", "nowhere.db", "postgresql+psycopg://x/y"), "nowhere.db is not a file"),
        (("restore", "/nowhere/at/all"), "/nowhere/at/all is not a file"),
        (("backup", "/nowhere/at/all"), "Nothing was changed: "),
    ],
)
def test_a_wrong_path_is_one_line(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    """No traceback, and exit code 1."""
    url = f"sqlite:///{tmp_path / 'gatepost.db'}"
    gatepost(url, "upgrade")
    assert said in refused(url, *arguments)
