"""Which values the environment may have, and the one line an operator gets for a wrong one."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gatepost_idp import settings
from gatepost_idp.settings import Settings, SettingsError, contrast_with_white, is_private_host
from tests.support.processes import environment_of

KEY = "k" * 32
PUBLIC = {"OAUTH_ISSUER": "https://auth.example.com", "MCP_RESOURCE_URL": "https://mcp.example.com/mcp"}
POSTGRES = "postgresql+psycopg://gatepost:hunter2@db/gatepost"


def loaded(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Settings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return settings.load()


def refusal(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    """The one line."""
    with pytest.raises(SettingsError) as caught:
        loaded(monkeypatch, **environment)
    return str(caught.value)


def test_the_defaults_are_those_of_the_demo() -> None:
    """With nothing set, everything is on this machine."""
    found = settings.load()
    assert found.oauth_issuer == "http://localhost:9000"
    assert found.mcp_resource_url == "http://localhost:9001/mcp"
    assert found.database_url == "sqlite:///var/gatepost.db"
    assert (found.idp_host, found.idp_port, found.workers) == (("127.0.0.1",), 9000, 1)
    assert (found.access_token_minutes, found.refresh_token_days, found.refresh_grace_seconds) == (15, 30, 30)
    assert (found.sign_in_minutes, found.consent_days, found.signup) == (10, 30, "open")
    assert (found.is_local, found.is_sqlite, found.root) == (True, True, "")
    assert found.trusted_proxies == ()


@pytest.mark.clause("A2")
@pytest.mark.parametrize(
    ("issuer", "resource"),
    [
        ("https://auth.example.com", "https://mcp.example.com/mcp"),
        ("https://auth.example.com:443", "https://mcp.example.com:443/mcp"),
        ("https://example.com/auth", "https://example.com/mcp/"),
        ("https://example.com/a-b/c.d", "https://example.com"),
        ("http://127.0.0.1:9000", "http://[::1]:9001/mcp"),
        ("https://localhost:9000", "http://localhost:9001/mcp"),
    ],
)
def test_urls_stay_as_they_were_written(monkeypatch: pytest.MonkeyPatch, issuer: str, resource: str) -> None:
    """No slash, port or capital is added or removed: clients compare them byte for byte."""
    found = loaded(monkeypatch, OAUTH_ISSUER=issuer, MCP_RESOURCE_URL=resource)
    assert (found.oauth_issuer, found.mcp_resource_url) == (issuer, resource)


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spaces and an extra comma do no harm."""
    found = loaded(
        monkeypatch,
        ALLOWED_HOSTS=" auth.internal , 10.0.0.5:9000,",
        TRUSTED_PROXIES="10.0.0.1,fd00::/8",
        IDP_HOST="127.0.0.1,::1",
        SIGNUP_DOMAINS="Example.com,example.org",
        SECRET_KEY=f"{KEY},{'n' * 32}",
    )
    assert found.allowed_hosts == ("auth.internal", "10.0.0.5:9000")
    assert found.trusted_proxies == ("10.0.0.1", "fd00::/8")
    assert found.idp_host == ("127.0.0.1", "::1")
    assert found.signup_domains == ("example.com", "example.org")
    assert found.secret_keys.values == (KEY, "n" * 32)


def test_other_names_are_nobodys_business(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment also has the resource server's and other programs' variables, which are ignored."""
    assert loaded(monkeypatch, RESOURCE_PORT="nonsense", PATH="/bin", HOSTNAME="x").idp_port == 9000


@pytest.mark.parametrize(
    "name", ["OAUTH_ISSUER", "MCP_RESOURCE_URL", "DATABASE_URL", "IDP_PORT", "IDP_HOST", "WORKERS", "LIMIT_TOTAL",
             "SMTP_PORT", "SMTP_SECURITY", "SIGNUP", "LOG_LEVEL", "SERVICE_NAME", "SECRET_KEY", "ACCENT"],
)  # fmt: skip  # one list of names
def test_an_empty_value_is_no_value(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A compose file passes empty values for variables that are not set."""
    default = getattr(settings.load(), name.lower())
    assert getattr(loaded(monkeypatch, **{name: ""}), name.lower()) == default


# --- NAME_FILE --------------------------------------------------------------------------------------------------------


def test_any_setting_can_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The file's content, without its last line break, is the value."""
    given = {
        "SECRET_KEY": f"{KEY},{'n' * 32}\n",
        "SMTP_PASSWORD": " a password, with a comma \r\n",
        "IDP_PORT": "9009\n",
        "SERVICE_NAME": "B\N{LATIN SMALL LETTER U WITH DIAERESIS}cher",
    }
    for name, content in given.items():
        (tmp_path / name).write_bytes(content.encode())
        monkeypatch.setenv(f"{name}_FILE", str(tmp_path / name))
    found = settings.load()
    assert found.secret_key == (KEY, "n" * 32)
    assert found.smtp_password == " a password, with a comma "
    assert (found.idp_port, found.service_name) == (9009, "B\N{LATIN SMALL LETTER U WITH DIAERESIS}cher")


def test_a_file_counts_where_the_name_itself_is_empty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty SECRET_KEY beside SECRET_KEY_FILE must not silently win, or the server would make its own key."""
    (tmp_path / "key").write_text(KEY)
    found = loaded(monkeypatch, SECRET_KEY="", SECRET_KEY_FILE=str(tmp_path / "key"))
    assert found.secret_key == (KEY,)


def test_a_value_and_its_file_do_not_go_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Which of the two is meant cannot be guessed."""
    (tmp_path / "key").write_text(KEY)
    line = refusal(monkeypatch, SECRET_KEY="x" * 40, SECRET_KEY_FILE=str(tmp_path / "key"))
    assert line.startswith("SECRET_KEY_FILE: SECRET_KEY is set as well")
    assert "x" * 40 not in line


@pytest.mark.parametrize(("content", "words"), [(None, "No such file"), (b"\xff\xfe", "not UTF-8")])
def test_a_file_that_cannot_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None, words: str
) -> None:
    """With its path and the reason, in one line; so is a folder."""
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content)
    line = refusal(monkeypatch, SMTP_PASSWORD_FILE=str(path))
    assert line.startswith(f"SMTP_PASSWORD_FILE: the file {path} cannot be read")
    assert words in line
    assert "Is a directory" in refusal(monkeypatch, SMTP_PASSWORD_FILE=str(tmp_path))


# --- Wrong values -----------------------------------------------------------------------------------------------------

WRONG: list[tuple[str, str, str]] = [
    ("OAUTH_ISSUER", "auth.example.com", "https://"),
    ("OAUTH_ISSUER", "ftp://auth.example.com", "https://"),
    ("OAUTH_ISSUER", "https://", "https://"),
    ("OAUTH_ISSUER", "http://auth.example.com", "use https"),
    ("OAUTH_ISSUER", "http://127.0.0.2:9000", "use https"),
    ("OAUTH_ISSUER", "http://localhost.example.com", "use https"),
    ("OAUTH_ISSUER", "http://10.0.0.1", "use https"),
    ("OAUTH_ISSUER", "http://localhost:9000/", "slash"),
    ("OAUTH_ISSUER", "http://localhost:9000/auth/", "slash"),
    ("OAUTH_ISSUER", "http://localhost:9000?x=1", "query"),
    ("OAUTH_ISSUER", "http://localhost:9000?", "query"),
    ("OAUTH_ISSUER", "http://localhost:9000#x", "fragment"),
    ("OAUTH_ISSUER", "http://localhost:9000#", "fragment"),
    ("OAUTH_ISSUER", "http://user:hunter2@localhost:9000", "user"),
    ("OAUTH_ISSUER", "http://local host:9000", "Example"),
    ("OAUTH_ISSUER", " http://localhost:9000", "Example"),
    ("OAUTH_ISSUER", "http://[::1:9000", "Example"),
    ("OAUTH_ISSUER", "http://localhost:99999", "Example"),
    ("OAUTH_ISSUER", "http://localhost:port", "Example"),
    ("MCP_RESOURCE_URL", "mcp.example.com/mcp", "https://"),
    ("MCP_RESOURCE_URL", "http://mcp.example.com/mcp", "use https"),
    ("MCP_RESOURCE_URL", "http://localhost:9001/mcp?x", "query"),
    ("MCP_RESOURCE_URL", "http://localhost:9001/mcp#x", "fragment"),
    ("MCP_RESOURCE_URL", "http://user:hunter2@localhost:9001/mcp", "user"),
    ("TRUSTED_PROXIES", "10.0.0.0/40", "CIDR"),
    ("TRUSTED_PROXIES", "10.0.0.1,proxy", "'proxy'"),
    ("DATABASE_URL", "mysql://gatepost:hunter2@db/gatepost", "postgresql+psycopg"),
    ("DATABASE_URL", "postgresql://gatepost:hunter2@db/gatepost", "postgresql+psycopg"),
    ("DATABASE_URL", "gatepost.db", "sqlite:///"),
    ("REDIS_URL", "http://:hunter2@redis", "redis://"),
    ("REDIS_URL", "redis://:hunter2/@redis:6379/0", "%2F"),
    ("LIMIT_ADDRESS", "often", "COUNT/PERIOD"),
    ("LIMIT_NETWORK", "30/quarter", "COUNT/PERIOD"),
    ("LIMIT_TOTAL", "many/hour", "COUNT/PERIOD"),
    ("SMTP_PORT", "smtp", "integer"),
    ("SMTP_PORT", "0", "587"),
    ("SMTP_PORT", "65536", "587"),
    ("SMTP_SECURITY", "tls", "starttls"),
    ("MAIL_FROM", "foo", "gatepost@example.com"),
    ("MAIL_FROM", "Gatepost <gatepost@example.com>", "not a plain address"),
    ("SUPPORT_EMAIL", "foo", "help@example.com"),
    ("PRIVACY_URL", "javascript:alert(1)", "https://"),
    ("PRIVACY_URL", "example.com/privacy", "https://"),
    ("TERMS_URL", "data:text/html,x", "https://"),
    ("TERMS_URL", "https://", "https://"),
    ("TERMS_URL", "https://[::1", "https://"),
    ("ALLOWED_HOSTS", "https://auth.internal", "without scheme"),
    ("ALLOWED_HOSTS", "auth.internal,10.0.0.5/x", "10.0.0.5:9000"),
    ("SECRET_KEY", "hunter2", "32 characters"),
    ("SECRET_KEY", f"{KEY},hunter2", "32 characters"),
    ("SIGNUP", "everybody", "'open'"),
    ("CONSENT_DAYS", "-1", "0"),
    ("CONSENT_DAYS", "forever", "integer"),
    ("ACCESS_TOKEN_MINUTES", "0", "1"),
    ("REFRESH_TOKEN_DAYS", "366", "365"),
    ("REFRESH_GRACE_SECONDS", "-1", "0"),
    ("SIGN_IN_MINUTES", "31", "30"),
    ("SERVICE_NAME", "x" * 61, "60"),
    ("IDP_HOST", " , ", "127.0.0.1"),
    ("IDP_PORT", "http", "integer"),
    ("IDP_PORT", "65536", "65535"),
    ("WORKERS", "0", "1"),
    ("WORKERS", "2", "DATABASE_URL"),
    ("ACCENT", "blue", "#0b5fff"),
    ("ACCENT", "#fff", "#0b5fff"),
    ("ACCENT", "#gggggg", "#0b5fff"),
    ("ACCENT", "#ffcc00", "contrast"),
    ("METRICS_ADDRESS", "9100", "HOST:PORT"),
    ("METRICS_ADDRESS", "127.0.0.1:99999", "HOST:PORT"),
    ("LOG_FORMAT", "xml", "'json'"),
    ("LOG_LEVEL", "loud", "'info'"),
]


@pytest.mark.clause("A2.https")
@pytest.mark.parametrize(("name", "value", "words"), WRONG)
def test_a_wrong_value_is_explained_in_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    """The setting's name, what is wrong, what a right value looks like; never the value of a secret."""
    line = refusal(monkeypatch, **{name: value})
    assert line.startswith(f"{name}: ")
    assert words in line
    assert "\n" not in line
    assert "hunter2" not in line


TOGETHER: list[tuple[dict[str, str], str, str]] = [
    ({"OAUTH_ISSUER": "https://auth.example.com"}, "OAUTH_ISSUER", "both be public"),
    ({"MCP_RESOURCE_URL": "https://mcp.example.com/mcp"}, "OAUTH_ISSUER", "both be public"),
    ({"DATABASE_URL": POSTGRES}, "SECRET_KEY", "required with PostgreSQL"),
    ({"DATABASE_URL": POSTGRES, "SECRET_KEY": ","}, "SECRET_KEY", "required with PostgreSQL"),
    ({"SMTP_HOST": "smtp.example.com"}, "MAIL_FROM", "required with SMTP_HOST"),
    ({"SMTP_HOST": "smtp.example.com", "MAIL_FROM": "a@b.c", "SMTP_SECURITY": "none"}, "SMTP_SECURITY", "starttls"),
    ({"SMTP_HOST": "8.8.8.8", "MAIL_FROM": "a@b.c", "SMTP_SECURITY": "none"}, "SMTP_SECURITY", "starttls"),
    (
        {"SMTP_HOST": "127.0.0.1", "MAIL_FROM": "a@b.c", "SMTP_SECURITY": "none", "SMTP_USERNAME": "hunter2"},
        "SMTP_SECURITY",
        "in the clear",
    ),
    (
        {"SMTP_HOST": "smtp.example.com", "MAIL_FROM": "a@b.c", "SMTP_USERNAME": "hunter2"},
        "SMTP_PASSWORD",
        "required with SMTP_USERNAME",
    ),
    ({"SIGNUP": "domains"}, "SIGNUP_DOMAINS", "required"),
    ({"SIGNUP": "domains", "SIGNUP_DOMAINS": " ,"}, "SIGNUP_DOMAINS", "required"),
]


@pytest.mark.parametrize(("environment", "name", "words"), TOGETHER)
def test_what_does_not_fit_together_names_what_to_change(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], name: str, words: str
) -> None:
    """One line, and no password of a database or mail server in it."""
    line = refusal(monkeypatch, **environment)
    assert line.startswith(f"{name}: ")
    assert words in line
    assert "\n" not in line
    assert "hunter2" not in line


RIGHT: list[dict[str, str]] = [
    PUBLIC,
    {**PUBLIC, "DATABASE_URL": POSTGRES, "SECRET_KEY": KEY, "WORKERS": "4"},
    {"SMTP_HOST": "mailpit", "MAIL_FROM": "a@b.c", "SMTP_SECURITY": "none"},
    {"SMTP_HOST": "10.1.2.3", "MAIL_FROM": "a@b.c", "SMTP_SECURITY": "none"},
    {"SMTP_HOST": "smtp.example.com", "MAIL_FROM": "a@b.c", "SMTP_SECURITY": "implicit", "SMTP_PORT": "465"},
    {"SIGNUP": "domains", "SIGNUP_DOMAINS": "example.com"},
    {"METRICS_ADDRESS": ""},
    {"LOG_LEVEL": "INFO", "LOG_FORMAT": "JSON"},
    {"MAIL_FROM": "gatepost@demo.localhost", "SUPPORT_EMAIL": "help+gate@example.com"},
    {"PRIVACY_URL": "https://example.com/privacy?lang=en#top", "TERMS_URL": "http://intranet/terms"},
    {"ALLOWED_HOSTS": "Auth.internal,10.0.0.5:9000,[fd00::1]:9000"},
    {"ACCENT": "#0b5fff"},
    {"CONSENT_DAYS": "0", "REFRESH_GRACE_SECONDS": "0"},
]


@pytest.mark.parametrize("environment", RIGHT)
def test_what_is_right_is_taken(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    """The server starts with each of these."""
    assert loaded(monkeypatch, **environment).service_name == "Gatepost demo"


def test_settings_never_show_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither when printed nor in a traceback's locals."""
    found = loaded(
        monkeypatch,
        **PUBLIC,
        SECRET_KEY="hunter2" * 5,
        DATABASE_URL=POSTGRES,
        SMTP_PASSWORD="hunter2",
        REDIS_URL="redis://:hunter2@redis",
    )
    assert "hunter2" not in repr(found)
    assert "hunter2" not in str(found)


def test_a_wrong_setting_ends_the_process_with_its_line() -> None:
    """On stderr, exit code 2, and no traceback."""
    code = "from gatepost_idp.settings import load_or_exit; load_or_exit()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment_of(OAUTH_ISSUER="http://auth.example.com"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("OAUTH_ISSUER: ")
    assert done.stderr.count("\n") == 1


def test_a_secret_of_the_wrong_kind_is_not_shown_either() -> None:
    """Code that passes a wrong value in gets the same line, without what it passed."""
    for given in ({"smtp_password": ["hunter2"]}, {"secret_key": 5}, {"database_url": b"hunter2"}):
        with pytest.raises(SettingsError) as caught:
            settings.load(**given)
        assert "hunter2" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_settings_cannot_be_changed_afterwards() -> None:
    """They are checked once, so they stay what they were."""
    found: Any = settings.load()
    with pytest.raises(ValueError, match="frozen"):
        found.workers = 9


# --- The key file of SQLite -------------------------------------------------------------------------------------------


def on_sqlite(folder: Path) -> Settings:
    return Settings(database_url=f"sqlite:///{folder / 'var' / 'gatepost.db'}")


def test_the_first_start_makes_a_key_for_its_owner_alone(tmp_path: Path) -> None:
    """Mode 0600 whatever the umask, enough randomness, and the same key at the next start."""
    before = os.umask(0)
    try:
        first = on_sqlite(tmp_path).secret_keys
    finally:
        os.umask(before)
    path = tmp_path / "var" / "secret_key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(first.values[0]) >= 43
    assert on_sqlite(tmp_path).secret_keys == first
    assert [file.name for file in path.parent.iterdir()] == ["secret_key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o666])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """The error has the command that fixes it."""
    path = tmp_path / "var" / "secret_key"
    _ = on_sqlite(tmp_path).secret_keys
    path.chmod(mode)
    with pytest.raises(SettingsError, match=rf"^SECRET_KEY: others can read {path}; to fix it: chmod 600 {path}$"):
        _ = on_sqlite(tmp_path).secret_keys


@pytest.mark.parametrize("content", ["", "\n", "short"])
def test_a_key_file_without_a_key_is_refused(tmp_path: Path, content: str) -> None:
    """An empty one, such as `touch` makes, would sign every cookie with a key that anybody knows."""
    path = tmp_path / "var" / "secret_key"
    path.parent.mkdir()
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(SettingsError, match=r"^SECRET_KEY: "):
        _ = on_sqlite(tmp_path).secret_keys


def test_who_starts_at_the_same_moment_gets_the_same_key(tmp_path: Path) -> None:
    """Server and command line on a fresh folder."""
    ready = threading.Barrier(4)
    url = f"sqlite:///{tmp_path / 'var' / 'gatepost.db'}"
    code = "import sys; from gatepost_idp.settings import load; sys.stdin.readline(); "
    code += "print(load().secret_keys.values[0])"

    def start(_number: int) -> str:
        ready.wait(20)
        return subprocess.run(
            [sys.executable, "-c", code],
            env=environment_of(DATABASE_URL=url),
            input="go\n",
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(start, range(4)))) == 1


def test_a_start_that_was_killed_does_not_stop_the_next(tmp_path: Path) -> None:
    """In a container every start has the same process id: a killed one's leftovers must not be in the way."""
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / f"secret_key.{os.getpid()}").write_text("half a ")
    assert len(on_sqlite(tmp_path).secret_keys.values[0]) >= 43


def test_a_given_key_needs_no_file(tmp_path: Path) -> None:
    """With SECRET_KEY set no file is written."""
    found = Settings(database_url=f"sqlite:///{tmp_path / 'var' / 'gatepost.db'}", secret_key=(KEY,))
    assert found.secret_keys.values == (KEY,)
    assert not (tmp_path / "var").exists()


# --- Small parts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("colour", "contrast"),
    [("#000000", 21.0), ("#ffffff", 1.0), ("#767676", 4.54), ("#777777", 4.48), ("#0b5fff", 5.13)],
)
def test_contrast_is_that_of_wcag(colour: str, contrast: float) -> None:
    """Against white."""
    assert contrast_with_white(colour) == pytest.approx(contrast, abs=0.01)
    assert (contrast_with_white("#767676") >= 4.5) is True
    assert (contrast_with_white("#777777") >= 4.5) is False


@pytest.mark.parametrize(
    ("host", "verdict"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("10.0.0.1", True),
        ("192.168.1.1", True),
        ("fd00::1", True),
        ("mailpit", True),
        ("smtp.internal", True),
        ("nas.local", True),
        ("8.8.8.8", False),
        ("2606:4700::1111", False),
        ("smtp.example.com", False),
        ("localhost.example.com", False),
        ("10.0.0.1.example.com", False),
    ],
)
def test_mail_goes_in_clear_on_private_ground_only(host: str, verdict: bool) -> None:
    """Loopback, private addresses, and bare names as in container networks."""
    assert is_private_host(host) is verdict
