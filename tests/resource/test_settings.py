"""Which values the environment may have, and the one line an operator gets for a wrong one."""

from pathlib import Path

import pytest

from gatepost_resource import catalogue, settings
from gatepost_resource.settings import SettingsError

NAMES = [
    "OAUTH_ISSUER",
    "MCP_RESOURCE_URL",
    "ALLOWED_ORIGINS",
    "ALLOWED_HOSTS",
    "TRUSTED_PROXIES",
    "INTROSPECTION_CLIENT_ID",
    "INTROSPECTION_CLIENT_SECRET",
    "CATALOGUE",
    "RESOURCE_HOST",
    "RESOURCE_PORT",
    "WORKERS",
    "LOG_FORMAT",
    "LOG_LEVEL",
    "ACCESS_REQUEST_URL",
    "SERVICE_NAME",
    "SUPPORT_EMAIL",
]


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"{name}_FILE", raising=False)


def test_the_defaults_serve_the_demo() -> None:
    """With nothing set, both servers find each other on this machine."""
    found = settings.load()
    assert found.oauth_issuer == "http://localhost:9000"
    assert found.mcp_resource_url == "http://localhost:9001/mcp"
    assert found.allowed_origins == ("https://claude.ai", "https://claude.com")
    assert found.resource_host == ("127.0.0.1",)
    assert found.resource_port == 9001
    assert found.access_page == "http://localhost:9000/account/access"
    assert catalogue.load(found.catalogue, found.mcp_resource_url).new_account_scopes == ("demo:read", "demo:echo")


def test_urls_stay_as_they_were_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """No slash is added or removed: every client compares them byte for byte."""
    for issuer, resource in [
        ("https://auth.example.com", "https://mcp.example.com"),
        ("https://auth.example.com/", "https://mcp.example.com/mcp/"),
        ("https://example.com:8443/a/b", "https://example.com:443/mcp"),
        ("http://[::1]:9000", "http://127.0.0.1:9001/mcp"),
    ]:
        monkeypatch.setenv("OAUTH_ISSUER", issuer)
        monkeypatch.setenv("MCP_RESOURCE_URL", resource)
        found = settings.load()
        assert (found.oauth_issuer, found.mcp_resource_url) == (issuer, resource)


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spaces do no harm, and a list can be empty."""
    monkeypatch.setenv("ALLOWED_ORIGINS", " https://a.example , http://b.example:8080,")
    monkeypatch.setenv("RESOURCE_HOST", "127.0.0.1,::1")
    monkeypatch.setenv("TRUSTED_PROXIES", "10.0.0.1,fd00::/8")
    found = settings.load()
    assert found.allowed_origins == ("https://a.example", "http://b.example:8080")
    assert found.resource_host == ("127.0.0.1", "::1")
    assert found.trusted_proxies == ("10.0.0.1/32", "fd00::/8")
    monkeypatch.setenv("ALLOWED_ORIGINS", "")
    assert settings.load().allowed_origins == ()


def test_an_empty_value_is_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compose file passes empty values for variables that are not set."""
    for name in ("OAUTH_ISSUER", "RESOURCE_PORT", "LOG_FORMAT", "CATALOGUE", "INTROSPECTION_CLIENT_SECRET"):
        monkeypatch.setenv(name, "")
    assert settings.load().resource_port == 9001


def test_any_setting_can_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """NAME_FILE: the value is the file's content without its last line break."""
    for name, value in [("INTROSPECTION_CLIENT_SECRET", "s3cret"), ("INTROSPECTION_CLIENT_ID", "me"), ("WORKERS", "2")]:
        path = tmp_path / name
        path.write_text(value + "\n")
        monkeypatch.setenv(f"{name}_FILE", str(path))
    found = settings.load()
    assert found.introspection_client_secret is not None
    assert found.introspection_client_secret.get_secret_value() == "s3cret"
    assert found.workers == 2
    assert "s3cret" not in repr(found)


def test_other_names_are_nobodys_business(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment also has the authorization server's settings, which are ignored here."""
    monkeypatch.setenv("SMTP_HOST", "mail.example.com")
    monkeypatch.setenv("SIGNUP", "nonsense")
    settings.load()


WRONG = [
    ("OAUTH_ISSUER", "auth.example.com", "https://auth.example.com"),
    ("OAUTH_ISSUER", "http://auth.example.com", "must be https"),
    ("OAUTH_ISSUER", "ftp://auth.example.com", "http or https"),
    ("OAUTH_ISSUER", "http://", "http or https"),
    ("MCP_RESOURCE_URL", "http://mcp.example.com/mcp", "must be https"),
    ("MCP_RESOURCE_URL", "http://localhost:9001/mcp?x=1", "query"),
    ("MCP_RESOURCE_URL", "http://localhost:9001/mcp#x", "fragment"),
    ("MCP_RESOURCE_URL", "http://localhost:9001/mcp?", "query"),
    ("MCP_RESOURCE_URL", "http://user:hunter2@localhost:9001/mcp", "user name"),
    ("MCP_RESOURCE_URL", "http://localhost:9001//mcp", "slashes"),
    ("MCP_RESOURCE_URL", "http://localhost:9001/a/../mcp", "dot segments"),
    ("MCP_RESOURCE_URL", "http://localhost:9001/mc p", "an ASCII path"),
    ("MCP_RESOURCE_URL", "http://localhost:9001/{x}", "an ASCII path"),
    ("MCP_RESOURCE_URL", "http://localhost:99999/mcp", "example: "),
    ("ALLOWED_ORIGINS", "https://claude.ai/", "trailing slash"),
    ("ALLOWED_ORIGINS", "*", "origin"),
    ("ALLOWED_ORIGINS", "claude.ai", "origin"),
    ("ALLOWED_HOSTS", "https://a.example", "host name"),
    ("TRUSTED_PROXIES", "10.0.0.0/40", "CIDR"),
    ("TRUSTED_PROXIES", "proxy", "CIDR"),
    ("RESOURCE_HOST", " , ", "address to listen on"),
    ("RESOURCE_PORT", "http", "integer"),
    ("RESOURCE_PORT", "0", "9001"),
    ("RESOURCE_PORT", "65536", "9001"),
    ("WORKERS", "0", "example: 1"),
    ("LOG_FORMAT", "xml", "'text' or 'json'"),
    ("LOG_LEVEL", "loud", "'debug'"),
    ("ACCESS_REQUEST_URL", "/account", "http or https"),
    ("INTROSPECTION_CLIENT_SECRET", "hunter2", "INTROSPECTION_CLIENT_ID"),
]


@pytest.mark.clause("R1.https")
@pytest.mark.parametrize(("name", "value", "words"), WRONG)
def test_a_wrong_value_is_explained_in_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    """The setting's name, what is wrong, what a right value looks like; never the value of a secret."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        settings.load()
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith((f"{name}: ", "INTROSPECTION_CLIENT_ID: "))
    assert words in line
    assert "example: " in line
    assert "hunter2" not in line


def test_several_wrong_values_are_explained_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line each, so that the operator need not fix them one start at a time."""
    monkeypatch.setenv("RESOURCE_PORT", "x")
    monkeypatch.setenv("LOG_LEVEL", "x")
    with pytest.raises(SettingsError) as caught:
        settings.load()
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == ["RESOURCE_PORT", "LOG_LEVEL"]


@pytest.mark.parametrize(
    ("issuer", "resource", "blamed"),
    [
        ("http://localhost:9000", "https://mcp.example.com/mcp", "OAUTH_ISSUER"),
        ("https://auth.example.com", "http://localhost:9001/mcp", "MCP_RESOURCE_URL"),
        ("https://auth.example.com", "https://127.0.0.1/mcp", "MCP_RESOURCE_URL"),
    ],
)
def test_a_public_and_a_local_url_do_not_go_together(
    monkeypatch: pytest.MonkeyPatch, issuer: str, resource: str, blamed: str
) -> None:
    """No client could reach both; the message names the one that was forgotten."""
    monkeypatch.setenv("OAUTH_ISSUER", issuer)
    monkeypatch.setenv("MCP_RESOURCE_URL", resource)
    with pytest.raises(SettingsError, match=f"^{blamed}: is on this machine"):
        settings.load()


def test_a_value_and_its_file_do_not_go_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Which of the two is meant cannot be guessed; a missing file is named."""
    path = tmp_path / "name"
    monkeypatch.setenv("SERVICE_NAME_FILE", str(path))
    with pytest.raises(SettingsError, match=r"^SERVICE_NAME_FILE: .*No such file"):
        settings.load()
    path.write_bytes(b"\xff")
    with pytest.raises(SettingsError, match=r"^SERVICE_NAME_FILE: .*UTF-8"):
        settings.load()
    path.write_text("Tools")
    monkeypatch.setenv("SERVICE_NAME", "Other")
    with pytest.raises(SettingsError, match=r"^SERVICE_NAME: is set together with SERVICE_NAME_FILE"):
        settings.load()


SCOPE = '[[resource.scope]]\nname = "a:b"\ntitle = "T"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[resource", "not TOML"),
        ("", "no [[resource]]"),
        ('[[resource]]\nurl = "https://other.example/mcp"\nname = "x"\n', "no [[resource]]"),
        ("[resource]\nname = 'x'\n", "[[resource]]"),
        ("[[resource]]\n", "no `name`"),
        ('[[resource]]\nname = "x"\nscope = 5\n', "[[scope]]"),
        ('[[resource]]\nname = "x"\n[[resource.scope]]\ntitle = "T"\n', "no `name`"),
        ('[[resource]]\nname = "x"\n[[resource.scope]]\nname = "a b"\ntitle = "T"\n', "without spaces"),
        ('[[resource]]\nname = "x"\n[[resource.scope]]\nname = "a"\n', "no `title`"),
        (f'[[resource]]\nname = "x"\n{SCOPE}new_accounts = "yes"\n', "true or false"),
        (f'[[resource]]\nname = "x"\n{SCOPE}description = 5\n', "must be a text"),
        (f'[[resource]]\nname = "x"\n{SCOPE}{SCOPE}', "twice"),
    ],
)
def test_a_wrong_catalogue_is_explained_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    """It names CATALOGUE and what to fix in the file."""
    path = tmp_path / "catalogue.toml"
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        catalogue.load(path, "https://mcp.example.com/mcp")
    assert str(caught.value).startswith("CATALOGUE: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_resource_of_our_url_is_chosen(tmp_path: Path) -> None:
    """Of several, the one whose url is MCP_RESOURCE_URL byte for byte; one without url is ours too."""
    path = tmp_path / "catalogue.toml"
    path.write_text(
        '[[resource]]\nurl = "https://a.example/mcp"\nname = "A"\n'
        '[[resource]]\nurl = "https://b.example/mcp"\nname = "B"\n'
        '[[resource]]\nname = "Rest"\n'
    )
    assert catalogue.load(path, "https://b.example/mcp").name == "B"
    assert catalogue.load(path, "https://b.example/mcp/").name == "Rest"
