"""The flight recorder is bounded in time, in rows and in steps in memory; and it breaks nothing."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import pytest
import sqlalchemy

from gatepost_idp import recorder
from gatepost_idp.database import Database
from gatepost_idp.recorder import Recorder
from gatepost_idp.traces import Trace
from gatepost_idp.transaction import DatabaseUnavailable
from tests.faults.asking import as_process, as_thread, built, environment_for
from tests.idp.oauth.wire import line, rows
from tests.idp.operator.recorded import told, until
from tests.store.servers import Postgres
from tests.support.oauth import registered
from tests.support.person import Person
from tests.support.ports import free_port
from tests.support.processes import Server, running
from tests.support.serving import Clock, Idp, serving, upgrade
from tests.support.smtp import receiving

ALL = "SELECT count(*) FROM trace_step"


def _say(idp: Idp, statement: str) -> None:
    """Changes the database directly."""
    engine = sqlalchemy.create_engine(idp.settings.database_url)
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()


def test_a_step_is_gone_after_a_day(idp: Idp) -> None:
    """From the command's output, and within a minute from the database."""
    trace_id = idp.get("/authorize?client_id=nobody").headers["x-trace-id"]
    told(idp, trace_id)
    idp.clock.forward(hours=23, minutes=58)
    idp.get("/authorize?client_id=somebody")
    until(idp, "SELECT count(*) = 2 FROM trace_step")
    idp.clock.forward(minutes=3)
    until(idp, "SELECT count(*) = 1 FROM trace_step")
    assert rows(idp, "SELECT trace_id FROM trace_step")[0][0] != trace_id


def test_a_flood_of_bad_requests_stays_bounded_in_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 10,000, from any number of networks, the newest stay, never more than the limit plus one batch."""
    monkeypatch.setattr(recorder, "KEPT_ROWS", 500)
    monkeypatch.setattr(recorder, "HELD", 1_000)
    with serving(tmp_path, trusted_proxies=("127.0.0.1/32",)) as idp:
        most = 0

        def send(part: int) -> None:
            client = HTTPConnection("127.0.0.1", idp.settings.idp_port)  # bare: a costly one would slow the flood
            for n in range(2_500):
                hop = {"x-forwarded-for": f"198.51.{part}.{n % 250}"}
                client.request("GET", f"/authorize?client_id=flood-{part}-{n}", headers=hop)
                answer = client.getresponse()
                answer.read()
                assert answer.status == 400
            client.close()

        with ThreadPoolExecutor(4) as pool:
            floods = [pool.submit(send, part) for part in range(4)]
            while not all(flood.done() for flood in floods):
                most = max(most, rows(idp, ALL)[0][0])
                time.sleep(0.1)
            for flood in floods:
                flood.result()
        until(idp, "SELECT count(*) FROM trace_step WHERE client_id LIKE 'flood-%-2499'")
        idp.clock.forward(minutes=2)
        until(idp, "SELECT count(*) <= 500 FROM trace_step")
        assert 0 < most <= 500 + recorder.TRIM_ROWS + recorder.HELD
        trace_id = idp.get("/authorize?client_id=afterwards").headers["x-trace-id"]
        assert told(idp, trace_id).names == ["authorize"]


def test_a_flood_from_one_network_is_braked_and_the_brake_is_not_recorded(idp: Idp) -> None:
    """600 registrations a minute are recorded, not the ones refused by the limit."""
    with line() as client:
        answers = [client.post(f"{idp.issuer}/register", content=b"{").status_code for _ in range(700)]
    assert answers.count(400) == 600
    assert answers.count(429) == 100
    until(idp, "SELECT count(*) >= 600 FROM trace_step")
    assert rows(idp, "SELECT count(*) FROM trace_step WHERE detail LIKE '%429%'") == [(0,)]


@pytest.fixture
def away(tmp_path: Path) -> Iterator[Database]:
    """A database without tables: every write fails."""
    database = Database(f"sqlite:///{tmp_path / 'empty.db'}")
    yield database
    database.close()


async def test_memory_is_bounded_while_the_database_is_away(away: Database) -> None:
    """The oldest steps are dropped, and counted; a stop discards the rest without an error."""
    kept = Recorder(away, Clock())
    for number in range(10_000):
        kept.note(Trace(str(number), "authorize"), "198.51.100.7", 400)
    with pytest.raises(DatabaseUnavailable):
        await kept.work()
    assert len(kept._waiting) == recorder.HELD
    assert kept.dropped == 10_000 - recorder.HELD
    assert [noted.trace_id for noted in kept._waiting] == [str(n) for n in range(8_000, 10_000)]
    await kept.close()


async def test_steps_that_come_while_a_batch_fails_are_newer_than_the_batch(away: Database) -> None:
    """A failed batch is put back in front, so that the oldest steps are still dropped first."""
    kept = Recorder(away, Clock())
    for number in range(recorder.HELD):
        kept.note(Trace(str(number), "authorize"), "", 400)
    failing = asyncio.ensure_future(kept.work())
    await asyncio.sleep(0)
    kept.note(Trace("newest", "authorize"), "", 400)
    with pytest.raises(DatabaseUnavailable):
        await failing
    assert (kept._waiting[0].trace_id, kept._waiting[-1].trace_id) == ("1", "newest")
    assert kept.dropped == 1


def test_a_recorder_that_fails_leaves_the_server_working_and_loses_nothing(
    idp: Idp, people: Callable[[str], Person]
) -> None:
    """While its table is missing a whole connection succeeds, and is recorded once the table is back."""
    _say(idp, "ALTER TABLE trace_step RENAME TO trace_away")
    client = registered(idp)
    assert client.connect(people("alice@example.com"))["access_token"]
    _say(idp, "ALTER TABLE trace_away RENAME TO trace_step")
    assert "consent decision" in told(idp, client.id, "token").names


def test_a_stop_writes_what_is_left(tmp_path: Path) -> None:
    """A stop writes the remaining steps without waiting for the next interval."""
    with receiving() as postbox:
        idp = built(tmp_path, postbox)
        with as_thread(idp):
            trace_id = idp.get("/authorize?client_id=nobody").headers["x-trace-id"]
        assert rows(idp, "SELECT trace_id FROM trace_step") == [(trace_id,)]


def test_two_processes_record_one_authorization_on_postgresql(tmp_path: Path, postgres: Postgres) -> None:
    """One answers the page, the other the call to /token; there is one trace."""
    with receiving() as postbox:
        idp = built(tmp_path, postbox, database_url=postgres.empty(), secret_key=("k" * 40,))
        upgrade(idp.settings)
        with as_process(idp, tmp_path / "one.log"), _second(idp, tmp_path / "two.log") as second:
            client = registered(idp)
            with Person("alice@example.com", postbox) as alice:
                code = client.code(alice)
            form = {"grant_type": "authorization_code", "code": code, "client_id": client.id, "code_verifier": "w" * 43}
            with line() as other:
                assert other.post(f"{second.base}/token", data=form).status_code == 400
            story = told(idp, client.id, "token")
    assert story.names[0] == "register"
    assert story.step("token")["trace_id"] == story.step("authorize")["trace_id"]
    processes = rows(idp, "SELECT DISTINCT substr(id, 19) FROM trace_step")
    assert len(processes) == 2


def _second(idp: Idp, log: Path) -> contextlib.AbstractContextManager[Server]:
    """Another process of the same server, behind the same issuer."""
    port = free_port()
    return running(f"http://127.0.0.1:{port}", environment_for(idp, IDP_PORT=str(port)), log, "gatepost_idp", "idp")


def test_a_request_line_without_a_path_is_answered(idp: Idp) -> None:
    """``OPTIONS *`` (RFC 9110 section 7.1) is answered, and not recorded."""
    with socket.create_connection(("127.0.0.1", idp.settings.idp_port)) as wire:
        wire.sendall(b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert wire.recv(12) in (b"HTTP/1.1 404", b"HTTP/1.1 405")


def test_noting_a_step_costs_microseconds(away: Database) -> None:
    """Recording must not slow a sign-in: 50 µs would be a tenth of the time /token takes."""
    import timeit

    from gatepost_idp.parameters import Parameters

    asked = Parameters({"client_id": "c", "grant_type": "authorization_code", "code": "x" * 49}, (), ())
    kept = Recorder(away, Clock())
    trace = Trace("abcde-fghjk", "token", "c", asked)
    assert min(timeit.repeat(lambda: kept.note(trace, "198.51.100.7", 200), number=100, repeat=20)) / 100 < 50e-6
