"""What the wheel holds, and that it works from where it is installed, away from the checkout."""

import time
import zipfile
from pathlib import Path

from tests.packaging.installed import Installed, committed

# Where each folder of the checkout is found in the wheel.
FOLDERS = {
    "idp/gatepost_idp/": "gatepost_idp/",
    "resource/gatepost_resource/": "gatepost_resource/",
    "templates/": "gatepost_idp/templates/",
    "emails/": "gatepost_idp/emails/",
}
HEAVY = ("fastapi", "starlette", "uvicorn", "mcp", "sqlalchemy", "sqlmodel", "authlib", "joserfc", "jinja2", "pydantic")
HELP_SECONDS = 1.5


def test_the_wheel_holds_every_file_of_both_packages(installed: Installed) -> None:
    """Code, migrations, catalogues, templates, emails, the resource server's page: each committed file, and no more."""
    wanted = {target + name.removeprefix(folder) for folder, target in FOLDERS.items() for name in committed(folder)}
    found = {name for name in zipfile.ZipFile(installed.wheel).namelist() if ".dist-info/" not in name}
    assert found == wanted
    for name in (
        "gatepost_idp/templates/signin/email.html",
        "gatepost_idp/templates/gatepost.css",
        "gatepost_idp/emails/sign_in/body.txt",
        "gatepost_idp/catalogue.toml",
        "gatepost_idp/clients/pinned_documents.toml",
        "gatepost_idp/connect/clients.toml",
        "gatepost_resource/catalogue.toml",
        "gatepost_resource/page.html",
        "gatepost_resource/page.css",
    ):
        assert name in found
    assert any(name.startswith("gatepost_idp/migrations/versions/0001_") for name in found)


def test_the_wheel_says_what_it_is(installed: Installed) -> None:
    """Name, license file, the one command."""
    archive = zipfile.ZipFile(installed.wheel)
    (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    said = archive.read(metadata).decode()
    assert "\nName: gatepost\n" in said
    assert "\nLicense-Expression: Apache-2.0\n" in said
    assert any(name.endswith("/licenses/LICENSE") for name in archive.namelist())
    commands = archive.read(metadata.replace("METADATA", "entry_points.txt")).decode()
    assert "gatepost = gatepost_idp.__main__:main" in commands


def test_pythons_own_resource_module_is_not_shadowed(installed: Installed, tmp_path: Path) -> None:
    """A top-level package named `resource` would hide it, and psutil would quietly lose its rlimit."""
    script = "import resource, gatepost_idp, gatepost_resource as r; resource.getrlimit(0); print(r.__file__)"
    done = installed.run(installed.python, "-c", script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(installed.environment), "another Gatepost was imported"


def test_help_answers_at_once(installed: Installed, tmp_path: Path) -> None:
    """Under a second and a half, the first of three tries that manages it; every command is named."""
    took = []
    for _ in range(3):
        began = time.monotonic()
        done = installed.run(installed.gatepost, "--help", cwd=tmp_path)
        took.append(time.monotonic() - began)
        assert done.returncode == 0, done.stderr
        for command in ("demo", "idp", "resource", "db", "keys", "clients", "users"):
            assert f" {command} " in done.stdout
        if took[-1] < HELP_SECONDS:
            return
    raise AssertionError(f"gatepost --help took {took} seconds")


def test_help_loads_nothing_that_serves(installed: Installed, tmp_path: Path) -> None:
    """No web framework, no database, no MCP: what a command needs it imports when it runs."""
    done = installed.run(installed.python, "-X", "importtime", "-m", "gatepost_idp", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "typer" in loaded, "the list of imports was not understood"
    assert sorted(loaded.intersection(HEAVY)) == []


def test_a_wrong_setting_is_one_line(installed: Installed, tmp_path: Path) -> None:
    """Of the installed command too: the setting's name, and no traceback."""
    command = ["/usr/bin/env", "OAUTH_ISSUER=nonsense", installed.gatepost, "idp"]
    done = installed.run(*command, cwd=tmp_path)
    assert done.returncode != 0
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("OAUTH_ISSUER")
