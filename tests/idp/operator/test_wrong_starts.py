"""The commonest mistakes of whoever starts it for the first time: one line each, and nothing made or changed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import environment_of, run_gatepost

KEY, OTHER = "k" * 32, "o" * 32
SCOPE = '[[resource]]\nname = "x"\n[[resource.scope]]\ntitle = "T"\n'
BAD_CATALOGUES = {
    None: "cannot be read (No such file or directory)",
    "[[resource": "is not TOML",
    f'{SCOPE}name = "a b"': "a scope's `name` must be ASCII without spaces, quotes and backslashes",
    f'{SCOPE}name = "a"\ntitel = "T"': "resource.0.scope.0.titel: nobody reads this key",
    f'{SCOPE}name = "a"\n[[backend]]\nname = "crm"\nurl = "ftp://crm.test"': "backend.0.url: it is not a URL",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory with a database in it that nobody has served yet."""
    run_gatepost(environment_of(DATABASE_URL=database(tmp_path)), "db", "upgrade")
    return tmp_path


def database(folder: Path) -> str:
    return f"sqlite:///{folder / 'var' / 'gatepost.db'}"


def gatepost(folder: Path, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """``gatepost ARGUMENTS``, run in ``folder``; it has to end by itself."""
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
    """As text, or as JSON where that was asked for."""
    said = line(folder, *command.split(), CATALOGUE="/nope.toml")
    assert said == "CATALOGUE: /nope.toml cannot be read (No such file or directory)."
    assert json.loads(line(folder, *command.split(), "--json", CATALOGUE="/nope.toml")) == {"error": said}


def test_a_changed_secret_key_ends_the_start_in_one_line(folder: Path) -> None:
    """It says how both are given, and shows neither; nothing is sealed under the new one by a command either."""
    run_gatepost(environment_of(DATABASE_URL=database(folder), SECRET_KEY=KEY), "keys", "rotate")
    for command in (["idp"], ["keys", "rotate"]):
        said = line(folder, *command, SECRET_KEY=OTHER)
        assert said.startswith("SECRET_KEY: the signing keys in the database were sealed under another key; ")
        assert "set SECRET_KEY=OLD,NEW" in said
        assert OTHER not in said
    kept = json.loads(gatepost(folder, "keys", "list", "--json").stdout)
    assert len(kept) == 2


def test_a_lost_key_file_ends_the_start_in_one_line(folder: Path) -> None:
    """A new file, which opens nothing, is not made: it would stand where the old one has to come back."""
    run_gatepost(environment_of(DATABASE_URL=database(folder)), "keys", "rotate")
    kept = folder / "var" / "secret_key"
    kept.rename(folder / "elsewhere")
    for command in (["idp"], ["keys", "rotate"]):
        said = line(folder, *command)
        assert said.startswith("SECRET_KEY: the signing keys in the database were sealed under another key; ")
        assert str(kept) in said
    assert not kept.exists()


def test_a_host_that_is_none_is_blamed_on_the_host(folder: Path) -> None:
    """Not on the port, which is fine."""
    assert line(folder, "idp", IDP_HOST="nope.invalid").startswith("IDP_HOST: nope.invalid is no address")
