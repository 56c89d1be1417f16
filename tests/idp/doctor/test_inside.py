"""Faults on the server's own machine: settings, files, database, keys, clock, catalogue, mail server, an account."""

import asyncio
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gatepost_idp.operate.doctor.doctor import Case, Doctor
from gatepost_idp.operate.doctor.examination import examine, first
from gatepost_idp.operate.doctor.finding import Outcome
from gatepost_idp.operate.doctor.inside.configuration import FILES
from gatepost_idp.operate.doctor.inside.installation import Installation
from gatepost_idp.settings import Settings, SettingsError, load
from tests.faults.mailservers import PASSWORD, USERNAME, Authority, Office, opened
from tests.idp.admin.being_admin import change
from tests.idp.doctor.deployment import Names, loud, visited
from tests.idp.doctor.test_outside import assert_first
from tests.idp.oauth.backends import resource_server
from tests.support.oauth import registered
from tests.support.person import Person
from tests.support.ports import free_port
from tests.support.serving import Idp

TOOLS = {"demo_echo": "demo:echo", "demo_get_server_info": "demo:ops", "whoami": None}


def examined(network: Names, settings: Settings, **case: Any) -> list[Outcome]:
    """The findings without a URL: only of this machine."""
    return visited(network, settings, "", **case)


def changed(idp: Idp, **changes: Any) -> Settings:
    """The settings, some of them changed."""
    return Settings(**{**idp.settings.model_dump(), **changes})


def test_nothing_is_wrong(idp: Idp, network: Names) -> None:
    """For a healthy server every check runs, and none finds anything."""
    outcomes = examined(network, idp.settings)
    assert [outcome.check for outcome in outcomes] == [
        "settings",
        "files",
        "database",
        "schema",
        "keys",
        "clock",
        "catalogue",
        "backends",
        "smtp",
        "account",
        "backend-tools",
    ]
    assert [outcome for outcome in outcomes if outcome.findings or outcome.left_out] == []


def test_nothing_is_changed(tmp_path: Path, network: Names) -> None:
    """On a machine without data nothing is created: no folder, no database, no secret."""
    settings = Settings(database_url=f"sqlite:///{tmp_path / 'var' / 'gatepost.db'}")
    assert_first(first(examined(network, settings)), "database-missing", "DATABASE_URL")
    assert list(tmp_path.iterdir()) == []


def test_a_database_beside_a_server_is_left_as_it_is(idp: Idp, network: Names) -> None:
    """The files that doctor reads stay byte for byte the same."""
    before = idp.settings.sqlite_path.read_bytes(), idp.settings.secret_key_path.read_bytes()
    examined(network, idp.settings, email="nobody@example.com")
    assert (idp.settings.sqlite_path.read_bytes(), idp.settings.secret_key_path.read_bytes()) == before


def test_a_setting_that_no_server_takes(network: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its error line is the finding, under its name, and all checks that need settings are skipped."""
    monkeypatch.setenv("OAUTH_ISSUER", "https://auth.example.com/")

    async def run() -> list[Outcome]:
        return [o async for o in Doctor(lambda: datetime.now(UTC), network, load).outcomes(Case(), lambda _: None)]

    outcomes = asyncio.run(run())
    found = first(outcomes)
    assert_first(found, "setting-wrong", "OAUTH_ISSUER")
    assert {outcome.left_out for outcome in outcomes[1:]} == {"settings"}


def test_a_key_file_that_others_can_read(idp: Idp, network: Names) -> None:
    """The server would not start with it."""
    idp.settings.secret_key_path.chmod(0o644)
    found = first(examined(network, idp.settings))
    assert_first(found, "key-file-open", "SECRET_KEY")
    assert found is not None
    assert found.example == f"chmod 600 {idp.settings.secret_key_path}"


def test_a_secret_file_that_others_can_read(
    idp: Idp, network: Names, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A warning that names the setting; no finding shows the content."""
    secret = tmp_path / "smtp_password"
    secret.write_text("hunter2")
    secret.chmod(0o644)
    monkeypatch.setenv("SMTP_PASSWORD_FILE", str(secret))
    found = first(examined(network, idp.settings))
    assert_first(found, "secret-file-open", "SMTP_PASSWORD_FILE")
    secret.chmod(0o640)
    assert loud(examined(network, idp.settings)) == []


def test_a_database_that_others_can_read(idp: Idp, network: Names) -> None:
    """A warning, for one made by an older version; its group may read it, as a backup program does."""
    path = idp.settings.sqlite_path
    path.chmod(0o644)
    found = first(examined(network, idp.settings))
    assert_first(found, "database-file-open", "DATABASE_URL")
    assert found is not None
    assert (found.level, found.example) == ("warning", f"chmod 600 {path}*")
    path.chmod(0o640)
    assert loud(examined(network, idp.settings)) == []


def test_a_database_that_does_not_answer(idp: Idp, network: Names) -> None:
    """If nobody listens there; its password is not shown."""
    url = f"postgresql+psycopg://gatepost:hunter2@127.0.0.1:{free_port()}/gatepost"
    settings = changed(idp, database_url=url, secret_key=("a key of more than thirty two characters",))
    found = first(examined(network, settings))
    assert_first(found, "database-away", "DATABASE_URL")
    assert "hunter2" not in str(found)


def test_a_database_url_that_nobody_can_read(idp: Idp, network: Names) -> None:
    """The finding names the kind of fault, not the URL, which may contain the password."""
    url = "postgresql+psycopg://gatepost:hunter2@db:port/gatepost"
    settings = changed(idp, database_url=url, secret_key=("a key of more than thirty two characters",))
    found = first(examined(network, settings))
    assert_first(found, "database-away", "DATABASE_URL")
    assert "hunter2" not in str(found)


def test_a_file_that_is_no_database(idp: Idp, network: Names, tmp_path: Path) -> None:
    """DATABASE_URL points to another kind of file."""
    other = tmp_path / "other.db"
    other.write_text("not a database, and long enough to be taken for one " * 20)
    assert_first(first(examined(network, changed(idp, database_url=f"sqlite:///{other}"))), "database-away", "DATABASE")


def test_an_old_schema(idp: Idp, network: Names, tmp_path: Path) -> None:
    """The finding names the command that upgrades it."""
    old = tmp_path / "old.db"
    with sqlite3.connect(old) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES ('0001')")
    connection.close()
    found = first(examined(network, changed(idp, database_url=f"sqlite:///{old}")))
    assert_first(found, "schema-old", "gatepost db upgrade")


@pytest.mark.parametrize("how", ["another", "gone"])
def test_a_secret_key_that_opens_nothing(idp: Idp, network: Names, how: str) -> None:
    """A SECRET_KEY other than the one that sealed the keys, or a database moved without its key file."""
    settings = (
        changed(idp, secret_key=("a key of more than thirty two characters",)) if how == "another" else idp.settings
    )
    if how == "gone":
        idp.settings.secret_key_path.unlink()
    assert_first(first(examined(network, settings)), "key-lost", "SECRET_KEY")
    assert idp.settings.secret_key_path.exists() is (how == "another")


def test_a_clock_that_is_behind(idp: Idp, network: Names) -> None:
    """Behind the time at which the database's newest key was made."""
    outcomes = visited(network, idp.settings, "", now=lambda: datetime.now(UTC) - timedelta(days=30))
    assert_first(first(outcomes), "clock-behind", "clock")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[[resource", "catalogue-wrong"),
        ('[[resource]]\nname = "X"\nurl = "https://x.example/mcp"\n', "catalogue-lacks-resource"),
        ('[[resource]]\nname = "X"\n[[resource.scope]]\nname = "x:y"\ntitle = "Y"\n', "catalogue-gives-nothing"),
    ],
)
def test_a_catalogue(idp: Idp, network: Names, tmp_path: Path, text: str, fault: str) -> None:
    """One that is not TOML, lacks this resource, or gives new accounts nothing."""
    file = tmp_path / "catalogue.toml"
    file.write_text(text)
    assert_first(first(examined(network, changed(idp, catalogue=str(file)))), fault, "CATALOGUE")


RESOURCE = """
[[resource]]
name = "X"
[[resource.scope]]
name = "x:read"
title = "Read"
new_accounts = true
[[resource.scope]]
name = "x:write"
title = "Write"
[[backend]]
name = "crm"
url = "https://crm.example/mcp"
"""


@pytest.mark.parametrize(
    ("text", "with_credentials", "fault", "setting"),
    [
        ('tools = { "*" = "x:unknown" }', True, "backends-wrong", "CATALOGUE"),
        ('tools = { "*" = "x:read" }', False, "backends-without-credentials", "gatepost clients add"),
        ("", True, "backend-without-rules", "CATALOGUE"),
        ('tools = { "*" = "x:write" }', True, "backend-for-nobody", "gatepost users grant"),
    ],
)
def test_a_backend(
    idp: Idp, network: Names, tmp_path: Path, text: str, with_credentials: bool, fault: str, setting: str
) -> None:
    """An invalid one, one for which nobody can get a token, one without rules, one that nobody may use."""
    file = tmp_path / "catalogue.toml"
    file.write_text(RESOURCE + text)
    if with_credentials:
        resource_server(idp, idp.settings.mcp_resource_url)
    outcomes = {one.check: one.findings for one in examined(network, changed(idp, catalogue=str(file)))}
    (found,) = outcomes["backends"]
    assert found.fault == fault
    assert found.setting.startswith(setting)


def test_a_backend_that_can_be_used(idp: Idp, network: Names, tmp_path: Path) -> None:
    """Credentials that are not disabled, a rule, and a scope that new accounts hold."""
    file = tmp_path / "catalogue.toml"
    file.write_text(RESOURCE + 'tools = { "*" = "x:read" }')
    own = resource_server(idp, idp.settings.mcp_resource_url)

    def findings() -> list[str]:
        outcomes = examined(network, changed(idp, catalogue=str(file)))
        return [found.fault for one in outcomes if one.check == "backends" for found in one.findings]

    assert findings() == []
    change(idp, "UPDATE client SET disabled_at = 1 WHERE id = ?", own.id)
    assert findings() == ["backends-without-credentials"]


def test_no_mail_server(idp: Idp, network: Names) -> None:
    """A failure for a public server; on loopback, where the demo has its own mailbox, only information."""
    outcomes = examined(network, changed(idp, smtp_host=""))
    assert loud(outcomes) == []
    assert "smtp-of-the-demo" in [finding.fault for outcome in outcomes for finding in outcome.findings]
    public = {"oauth_issuer": "https://auth.example.com", "mcp_resource_url": "https://mcp.example.com/mcp"}
    assert_first(first(examined(network, changed(idp, smtp_host="", **public))), "smtp-unset", "SMTP_HOST")


def test_a_mail_server_that_is_away(idp: Idp, network: Names) -> None:
    """Nobody listens at its address."""
    found = first(examined(network, changed(idp, smtp_port=free_port())))
    assert_first(found, "smtp-unreachable", "SMTP_PORT")


def test_a_mail_server_without_starttls(idp: Idp, network: Names) -> None:
    """STARTTLS is required and not offered."""
    assert_first(first(examined(network, changed(idp, smtp_security="starttls"))), "smtp-security", "SMTP_SECURITY")


def test_a_mail_server_with_a_certificate_of_its_own(idp: Idp, network: Names, tmp_path: Path) -> None:
    """No authority that the machine trusts has signed it."""
    office, authority = Office(), Authority(tmp_path / "ca.pem")
    with opened(office, authority.context()):
        settings = changed(idp, smtp_port=office.port, smtp_security="starttls")
        assert_first(first(examined(network, settings)), "smtp-certificate", "SMTP_HOST")


def test_a_mail_server_that_wants_another_password(
    idp: Idp, network: Names, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The password is never shown; with the right one all is well, and neither run sends a mail."""
    office, authority = Office(PASSWORD), Authority(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
    with opened(office, authority.context(), implicit=True):
        right = {"smtp_port": office.port, "smtp_security": "implicit", "smtp_username": USERNAME}
        found = first(examined(network, changed(idp, **right, smtp_password="not the password")))
        assert_first(found, "smtp-sign-in", "SMTP_PASSWORD")
        assert "not the password" not in str(found)
        assert loud(examined(network, changed(idp, **right, smtp_password=PASSWORD))) == []
    assert office.offered == []


def signed_up(idp: Idp, email: str) -> None:
    """Somebody signs in for the first time."""
    with Person(email, idp.postbox) as person:
        registered(idp).connect(person)


def statement(idp: Idp, text: str) -> None:
    """Changes the database as an operator's command does."""
    with sqlite3.connect(idp.settings.sqlite_path) as connection:
        connection.execute(text)
    connection.close()


def test_an_account_that_lacks_a_scope(idp: Idp, network: Names) -> None:
    """For each scope that a person lacks: which tools need it, and the command that grants it; not a failure."""
    signed_up(idp, "alice@example.com")
    outcomes = examined(network, idp.settings, email="Alice@example.com", tools=TOOLS)
    [found] = [finding for outcome in outcomes if outcome.check == "account" for finding in outcome.findings]
    assert (found.fault, found.level) == ("account-lacks-scopes", "information")
    assert "demo:ops, which demo_get_server_info needs" in found.seen
    assert found.example == "gatepost users grant alice@example.com demo:ops"


def test_an_account_without_any_scope(idp: Idp, network: Names) -> None:
    """Connected but no tools: the account holds none."""
    signed_up(idp, "alice@example.com")
    statement(idp, "DELETE FROM entitlement")
    found = first(examined(network, idp.settings, email="alice@example.com", tools=TOOLS))
    assert_first(found, "account-without-scopes", "gatepost users grant")


def test_a_disabled_account(idp: Idp, network: Names) -> None:
    """It cannot sign in."""
    signed_up(idp, "alice@example.com")
    statement(idp, "UPDATE account SET disabled_at = 1")
    assert_first(first(examined(network, idp.settings, email="alice@example.com")), "account-disabled", "users enable")


def test_an_account_that_is_not(idp: Idp, network: Names) -> None:
    """Nobody has signed up with that address."""
    found = first(examined(network, idp.settings, email="alcie@example.com"))
    assert_first(found, "account-unknown", "gatepost users list")


def test_a_check_that_breaks(network: Names) -> None:
    """An error of doctor itself is a finding too, and the other checks go on."""

    def loads() -> Settings:
        raise SettingsError("OAUTH_ISSUER: is odd")

    async def run() -> list[Outcome]:
        return [outcome async for outcome in examine([FILES], Installation(loads, lambda: datetime.now(UTC)))]

    assert_first(first(asyncio.run(run())), "check-broke", "doctor")
