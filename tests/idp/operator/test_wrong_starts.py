"""The most common mistakes at a first start: one line each, and nothing created or changed."""

import json
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.processes import environment_of, run_gatepost, running

KEY, OTHER = "k" * 32, "o" * 32
NO_MAKERS = [
    "idp", "users list", "clients list", "keys rotate", "audit verify", "db check", "db backup saved", "trace X",
    "mail suppressed",
]  # fmt: skip  # a list of commands
SCOPE = '[[resource]]\nname = "x"\n[[resource.scope]]\ntitle = "T"\n'
BAD_CATALOGUES = {
    None: "cannot be read (No such file or directory)",
    "[[resource": "is not TOML",
    f'{SCOPE}name = "a b"': "a scope's `name` must be ASCII without spaces, quotes and backslashes",
    f'{SCOPE}name = "a"\ntitel = "T"': "resource.0.scope.0.titel: there is no such key",
    f'{SCOPE}name = "a"\n[[backend]]\nname = "crm"\nurl = "ftp://crm.test"': "backend.0.url: it is not a URL",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory with a database that no server has used yet."""
    run_gatepost(environment_of(DATABASE_URL=database(tmp_path)), "db", "upgrade")
    return tmp_path


def database(folder: Path) -> str:
    return f"sqlite:///{folder / 'var' / 'gatepost.db'}"


def gatepost(folder: Path, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Runs ``gatepost ARGUMENTS`` in ``folder``; it has to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "gatepost_idp", *arguments],
        cwd=folder,
        env=environment_of(METRICS_ADDRESS="", **settings),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def line(folder: Path, *arguments: str, code: int = 2, **settings: str) -> str:
    """The one line of a command that is refused."""
    done = gatepost(folder, *arguments, **settings)
    assert (done.returncode, done.stdout) == (code, ""), done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr.strip()


@pytest.mark.parametrize("text", BAD_CATALOGUES)
def test_a_wrong_catalogue_ends_the_start_in_one_line(folder: Path, text: str | None) -> None:
    """The setting, the file, the place in it, what is wrong in words."""
    path = folder / "catalogue.toml"
    if text is not None:
        path.write_text(text)
    said = line(folder, "idp", CATALOGUE=str(path))
    assert said.startswith(f"CATALOGUE: {path}")
    assert BAD_CATALOGUES[text] in said


@pytest.mark.parametrize("command", ["users grant a@example.com demo:ops", "clients add X --claude --scope demo:ops"])
def test_a_wrong_catalogue_ends_a_command_in_one_line(folder: Path, command: str) -> None:
    """As text, or as JSON if that was asked for."""
    said = line(folder, *command.split(), CATALOGUE="/nope.toml")
    assert said == "CATALOGUE: /nope.toml cannot be read (No such file or directory)."
    assert json.loads(line(folder, *command.split(), "--json", CATALOGUE="/nope.toml")) == {"error": said}


def test_a_changed_secret_key_ends_the_start_in_one_line(folder: Path) -> None:
    """It says how to give both keys, and shows neither; no command seals anything under the new one either."""
    run_gatepost(environment_of(DATABASE_URL=database(folder), SECRET_KEY=KEY), "keys", "rotate")
    for command in (["idp"], ["keys", "rotate"]):
        said = line(folder, *command, SECRET_KEY=OTHER)
        assert said.startswith("SECRET_KEY: the signing keys in the database were sealed under another key; ")
        assert "set SECRET_KEY=OLD,NEW" in said
        assert OTHER not in said
    kept = json.loads(gatepost(folder, "keys", "list", "--json").stdout)
    assert len(kept) == 2


def test_a_lost_key_file_ends_the_start_in_one_line(folder: Path) -> None:
    """No new key file, which would open nothing, is created where the old one has to be put back."""
    run_gatepost(environment_of(DATABASE_URL=database(folder)), "keys", "rotate")
    kept = folder / "var" / "secret_key"
    kept.rename(folder / "elsewhere")
    for command in (["idp"], ["keys", "rotate"]):
        said = line(folder, *command)
        assert said.startswith("SECRET_KEY: the signing keys in the database were sealed under another key; ")
        assert str(kept) in said
    assert not kept.exists()


@pytest.mark.parametrize("command", NO_MAKERS)
def test_no_database_is_made_by_the_way(tmp_path: Path, command: str) -> None:
    """In another folder than the server's it says where the database would be and what to do, and creates nothing."""
    said = line(tmp_path, *command.split(), code=1)
    path = tmp_path / "var" / "gatepost.db"
    assert said.startswith(f"DATABASE_URL: there is no database at {path}. Run this where `gatepost idp` runs, or set")
    assert said.endswith("for a new server: gatepost db upgrade")
    assert list(tmp_path.iterdir()) == []


def test_no_database_is_made_for_a_backup_that_is_not_there(tmp_path: Path) -> None:
    """The backup file is checked first."""
    assert line(tmp_path, "db", "restore", "gone.db", code=1) == "gone.db is not a file; give the path of the backup."
    assert list(tmp_path.iterdir()) == []


def test_the_database_is_its_owners_alone(folder: Path) -> None:
    """It holds addresses, and backups are 0600 too; an existing database keeps its mode."""
    path = folder / "var" / "gatepost.db"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with sqlite3.connect(path) as held:
        held.execute("SELECT count(*) FROM account").fetchall()
        gatepost(folder, "users", "invite", "a@example.com")
        assert {stat.S_IMODE(one.stat().st_mode) for one in path.parent.glob("gatepost.db*")} == {0o600}
        assert len(list(path.parent.glob("gatepost.db-*"))) == 2
    held.close()
    path.chmod(0o640)
    gatepost(folder, "users", "invite", "b@example.com")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_public_server_without_mail_says_so(folder: Path) -> None:
    """It starts, since existing sessions and tokens go on working; on loopback there is no warning."""
    public = {"OAUTH_ISSUER": "https://auth.example.com", "MCP_RESOURCE_URL": "https://mcp.example.com/mcp"}
    for settings, warned in ((public, True), ({}, False)):
        port = free_port()
        environment = environment_of(DATABASE_URL=database(folder), IDP_PORT=str(port), METRICS_ADDRESS="", **settings)
        with running(f"http://127.0.0.1:{port}", environment, folder / "log", "gatepost_idp", "idp") as server:
            events = [json.loads(each) for each in server.logged().splitlines()]
        found = [(one["level"], one["setting"]) for one in events if one["event"] == "nobody_can_sign_in"]
        assert found == ([("warning", "SMTP_HOST")] if warned else [])


def test_a_host_that_is_none_is_blamed_on_the_host(folder: Path) -> None:
    """The error does not blame the port, which is fine."""
    assert line(folder, "idp", IDP_HOST="nope.invalid").startswith("IDP_HOST: nope.invalid is not an address")
