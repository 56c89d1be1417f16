"""Every command with ``--json``: stdout is JSON and stderr empty; a failure is one line on stderr."""

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from gatepost_idp.__main__ import cli
from gatepost_idp.store import accounts, outbox
from tests.faults.asking import as_thread, built, environment_for
from tests.idp.account.being_there import connected
from tests.idp.account.test_personal_tokens import made
from tests.idp.oauth.wire import beside, rows
from tests.support.person import Person
from tests.support.processes import ROOT
from tests.support.serving import Idp
from tests.support.smtp import receiving

ALICE, BOB, REFUSED = "alice@example.com", "bob@example.com", "refused@example.com"
COMMANDS = [
    "db check", "db upgrade", "db backup BACKUP", "keys list", "keys rotate", "clients list",
    "clients add App --claude --confidential", "clients add RS --resource-server",
    "clients add https://app.test/client.json --checks-iss", "clients show CLIENT", "clients disable CLIENT",
    "clients enable CLIENT", "users list", "users list --search ali", "users list --search nobody",
    f"users show {ALICE}",
    "users invite carol@example.com", f"users grant {ALICE} demo:ops", f"users revoke {ALICE} demo:ops",
    f"users grant {ALICE} admin", f"users revoke {ALICE} admin", f"users disable {ALICE}", f"users enable {ALICE}",
    f"users export {ALICE}", f"users delete {BOB} --yes", f"mail test {ALICE}", "mail suppressed",
    f"mail allow {REFUSED}", "trace CLIENT", "audit", "audit --event nothing", "audit verify", "doctor",
    "db restore BACKUP --force",
]  # fmt: skip  # a list of commands
READ = [command for command in COMMANDS if not command.startswith(("db", "users delete", "mail allow", "doctor"))]
SERVERS = ("demo", "idp", "resource")
ELSEWHERE = ("db copy", "tools list", "tools accept")
"""Need a second database, or a backend: tests/faults/test_backups.py, tests/resource/test_backend_changes.py."""
GROUPS = ("db", "keys", "clients", "users", "mail", "tools")
AWAY = ["db upgrade", "db check", "users list --json", "audit", "audit verify", "keys list", "clients add X --claude"]
WRONG = {
    "users show nobody@example.com": "Nobody has signed up",
    "users grant nobody@example.com demo:ops": "Nobody has signed up",
    f"users grant {ALICE} demo:nothing": "No resource has the scope",
    "users delete nobody@example.com --yes": "Nobody has signed up",
    "users export nobody@example.com": "Nobody has signed up",
    "users invite nobody": "is not an email address",
    "clients show gp_mc_nobody": "There is no client",
    "clients disable gp_mc_nobody": "There is no client",
    "clients add App": "Give at least one --redirect",
    "mail allow nobody@example.com": "is not suppressed",
    "trace 00000-00000": "Nothing is known",
    "audit --since never": "is not a time",
    "mail test nobody": "is not an email address",
}


@dataclass(frozen=True)
class Place:
    """A server with data, and the values for the table's placeholders."""

    idp: Idp
    words: dict[str, str]

    def gatepost(self, command: str) -> Result:
        arguments = [self.words.get(word, word) for word in command.split()]
        return CliRunner().invoke(cli, arguments, env=environment_for(self.idp))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Two people, one with an app and a token, and a suppressed address."""
    folder: Path = tmp_path_factory.mktemp("place")
    with receiving() as postbox:
        idp = built(folder, postbox)
        with as_thread(idp), Person(ALICE, postbox) as alice, Person(BOB, postbox) as bob:
            client, _ = connected(idp, alice)
            made(idp, alice)
            connected(idp, bob)
        # It is stopped: it runs in this process, and its log would mix with the commands' output.
        beside(idp, lambda tx: outbox.suppress(tx, REFUSED, "550 no", idp.clock()))
        yield Place(idp, {"CLIENT": client.id, "BACKUP": str(folder / "saved")})


def named(group: Any, path: str = "") -> Iterator[str]:
    """The commands below ``group``."""
    if path:
        yield path
    for name, command in getattr(group, "commands", {}).items():
        yield from named(command, f"{path} {name}".strip())


def test_every_command_is_in_the_table() -> None:
    """So that a new command is tested like the others."""
    every = {name for name in named(get_command(cli)) if name not in GROUPS}
    tried = {name for name in every for command in COMMANDS if command.startswith(name)}
    assert every - tried == {*SERVERS, *ELSEWHERE}


@pytest.mark.parametrize("command", COMMANDS)
def test_json_is_all_that_is_printed(place: Place, command: str) -> None:
    """One document, or one per line for the audit log; nothing on stderr, and exit code 0."""
    result = place.gatepost(f"{command} --json")
    assert result.stderr == ""
    documents = result.stdout.splitlines() if command.startswith("audit") else [result.stdout]
    found = [json.loads(document) for document in documents]
    if command == "doctor":  # it finds faults in a test server
        assert found[0]["ok"] is (result.exit_code == 0)
        return
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("command", READ)
def test_without_json_it_is_for_people(place: Place, command: str) -> None:
    """Some text, on stdout only."""
    result = place.gatepost(command)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    assert result.stdout.strip() or command == "audit --event nothing"


@pytest.mark.parametrize("command", WRONG)
def test_what_fails_says_why_in_one_line(place: Place, command: str) -> None:
    """On stderr, as text or as JSON; stdout stays empty, and the exit code is 1."""
    for more in ("", " --json"):
        result = place.gatepost(command + more)
        assert (result.exit_code, result.stdout) == (1, "")
        assert len(result.stderr.splitlines()) == 1
        assert WRONG[command] in (json.loads(result.stderr)["error"] if more else result.stderr)


def test_a_misspelt_option_is_exit_code_2(place: Place) -> None:
    """The usual exit code for wrong usage."""
    result = place.gatepost("users list --jsn")
    assert (result.exit_code, result.stdout) == (2, "")


@pytest.mark.parametrize("command", AWAY)
def test_a_database_that_is_away_is_said_in_one_line(place: Place, command: str) -> None:
    """Without a traceback or the password in its URL."""
    nowhere = "postgresql+psycopg://me:hunter2@127.0.0.1:9/none"
    environment = environment_for(place.idp, DATABASE_URL=nowhere, SECRET_KEY="k" * 32)
    result = CliRunner().invoke(cli, command.split(), env=environment)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("DATABASE_URL: the database does not answer")
    assert "hunter2" not in result.stderr
    assert "Traceback" not in result.stderr


def test_delete_asks_first(place: Place) -> None:
    """Without a yes nothing is deleted; the question is on stderr, so that --json stays JSON."""
    beside(place.idp, lambda tx: accounts.sign_up(tx, "dora@example.com", "dora@example.com", [], place.idp.clock()))
    command = [sys.executable, "-m", "gatepost_idp", *["users", "delete", "dora@example.com", "--json"]]

    def asked(answer: str) -> "subprocess.CompletedProcess[str]":
        environment = environment_for(place.idp)
        return subprocess.run(command, env=environment, input=answer, capture_output=True, text=True, check=False)

    for answer in ("n\n", ""):
        said = asked(answer)
        assert (said.returncode, said.stdout) == (1, "")
        assert said.stderr.startswith("Delete dora@example.com")
    assert rows(place.idp, "SELECT count(*) FROM account WHERE email = 'dora@example.com'") == [(1,)]
    assert json.loads(asked("y\n").stdout) == {"email": "dora@example.com", "deleted": True}
    assert rows(place.idp, "SELECT count(*) FROM account WHERE email = 'dora@example.com'") == [(0,)]


def test_many_people_and_clients_are_listed_page_by_page(place: Place) -> None:
    """1,200 of each: every one once, in order, as one JSON array, or as a table per page."""
    beside(place.idp, lambda tx: [
        accounts.sign_up(tx, f"m{n:04}@many.test", f"m{n:04}@many.test", [("r", "s")], place.idp.clock())
        for n in range(1200)
    ] and None)  # fmt: skip  # one statement
    found = [one["email"] for one in json.loads(place.gatepost("users list --search many.test --json").stdout)]
    assert found == [f"m{n:04}@many.test" for n in range(1200)]
    assert place.gatepost("users list --search many.test").stdout.count("disabled") == 3
    from gatepost_idp.store import clients
    from tests.store.test_clients import REGISTRATION

    def many(tx: Any) -> None:
        for n in range(1200):
            clients.add(tx, f"gp_mc_{n:04}", "manual", REGISTRATION, place.idp.clock())

    beside(place.idp, many)
    listed = [one["client"] for one in json.loads(place.gatepost("clients list --json").stdout)]
    assert len(listed) == len(set(listed))
    mine = [client for client in listed if client.startswith("gp_mc_") and client[6:].isdigit()]
    assert sorted(mine) == [f"gp_mc_{n:04}" for n in range(1200)]
    assert mine[0] > mine[-1], "the newest first"


def test_what_show_and_export_tell_of_a_person(place: Place) -> None:
    """Scopes by resource, apps, tokens, sessions; never a hash or a token."""
    shown = json.loads(place.gatepost(f"users show {ALICE} --json").stdout)
    assert shown["email"] == ALICE
    assert {"resource": place.idp.settings.mcp_resource_url, "scope": "demo:read"} in shown["scopes"]
    exported = place.gatepost(f"users export {ALICE} --json").stdout
    assert {"account", "scopes", "events"} <= json.loads(exported).keys()
    assert "hash" not in exported + json.dumps(shown)
    assert BOB not in exported


def test_the_version_is_the_distributions() -> None:
    """For bug reports: alone on stdout, even with nothing configured."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    result = CliRunner().invoke(cli, ["--version"])
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"gatepost {version}\n", "")


def test_help_is_in_groups_and_whole() -> None:
    """Each command has a sentence, none is truncated, and what a newcomer needs is first."""
    said = CliRunner().invoke(cli, ["--help"]).stdout
    panels = ("Run it", "See what happens", "People, clients, tools, mail", "Maintain it")
    assert sorted(panels, key=said.index) == list(panels)
    assert "…" not in said
    for command in named(get_command(cli)):
        helped = CliRunner().invoke(cli, [*command.split(), "--help"])
        assert helped.exit_code == 0
        assert "Usage" in helped.stdout
