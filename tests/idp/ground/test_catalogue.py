"""The catalogue: its resources and scopes, and a one-line error if it is wrong."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gatepost_idp import catalogue
from gatepost_idp.settings import Settings, SettingsError

TWO = """
[[resource]]
name = "Ours"
[[resource.scope]]
name = "a:read"
title = "Read"
new_accounts = true
[[resource.scope]]
name = "a:write"
title = "Write"

[[resource]]
url = "https://other.test/mcp"
name = "Other"
[[resource.scope]]
name = "b:read"
title = "Read there"
new_accounts = true
"""


def loaded(folder: Path, text: str) -> catalogue.Catalogue:
    path = folder / "catalogue.toml"
    path.write_text(text, encoding="utf-8")
    return catalogue.load(Settings(catalogue=str(path)))


def test_the_packaged_one_is_the_demos() -> None:
    """Its resource is the one at MCP_RESOURCE_URL; new accounts do not get the operators' scope."""
    found = catalogue.load(Settings())
    assert [resource.url for resource in found.resource] == ["http://localhost:9001/mcp"]
    assert found.default.scope_names == ("demo:read", "demo:echo", "demo:ops")
    assert found.default.default_scopes == ("demo:read", "demo:echo")


def test_several_resources_have_scopes_of_their_own(tmp_path: Path) -> None:
    """The first is the default; a new account holds what each gives to new accounts."""
    found = loaded(tmp_path, TWO)
    assert found.default.name == "Ours"
    assert found.scope_names == ("a:read", "a:write", "b:read")
    assert found.entitlements_of_new_accounts == [
        ("http://localhost:9001/mcp", "a:read"),
        ("https://other.test/mcp", "b:read"),
    ]


@pytest.mark.clause("A7")
def test_a_resource_is_found_by_its_url(tmp_path: Path) -> None:
    """Byte for byte, except for a trailing slash and the letter case of scheme and host."""
    found = loaded(tmp_path, TWO)
    for url in ("https://other.test/mcp", "https://other.test/mcp/", "HTTPS://Other.TEST/mcp"):
        resource = found.find(url)
        assert resource is not None
        assert resource.name == "Other"
    for url in (
        "https://other.test",
        "x?HTTPS://OTHER.test/mcp",
        "https://other.test/mcp//",
        "https://other.test/MCP",
        "",
    ):
        assert found.find(url) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "resource"),
        ("resource = []", "resource"),
        ("[[resource", "is not TOML"),
        (f"x = {'[' * 5000}", "is not TOML: too deep"),
        (f"x = {'9' * 5000}", "is not TOML"),
        ("[[resource]]", "resource.0.name"),
        ('[[resource]]\nname = "x"\nscop = []', "resource.0.scop"),
        ('[[resource]]\nname = "x"\n[[resource.scope]]\ntitle = "T"', "resource.0.scope.0.name"),
        ('[[resource]]\nname = "x"\n[[resource.scope]]\nname = "a b"\ntitle = "T"', "resource.0.scope.0.name"),
        ('[[resource]]\nname = "x"\n[[resource.scope]]\nname = "a\\"b"\ntitle = "T"', "resource.0.scope.0.name"),
        ('[[resource]]\nname = "x"\n[[resource.scope]]\nname = "a"', "resource.0.scope.0.title"),
    ],
)
def test_a_wrong_catalogue_is_explained_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    """The setting, the file, the place in it."""
    with pytest.raises(SettingsError) as caught:
        loaded(tmp_path, text)
    line = str(caught.value)
    assert line.startswith(f"CATALOGUE: {tmp_path / 'catalogue.toml'}")
    assert words in line
    assert "\n" not in line


def test_a_catalogue_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The error has its path; bytes that are not text are explained too."""
    with pytest.raises(SettingsError, match=r"^CATALOGUE: .*gone.toml cannot be read"):
        catalogue.load(Settings(catalogue=str(tmp_path / "gone.toml")))
    (tmp_path / "bytes.toml").write_bytes(b"\xff")
    with pytest.raises(SettingsError, match=r"^CATALOGUE: .*bytes.toml is not TOML"):
        catalogue.load(Settings(catalogue=str(tmp_path / "bytes.toml")))


# --- Backends ---------------------------------------------------------------------------------------------------------

CRM = """
[[backend]]
name = "crm"
url = "https://crm.test/mcp"
[backend.tools]
"find_*" = "a:read"
"""


def backends(folder: Path, text: str) -> catalogue.Backends:
    """The backends of this text, behind the resources of ``TWO``."""
    found = loaded(folder, TWO)
    path = folder / "catalogue.toml"
    path.write_text(text, encoding="utf-8")
    return catalogue.Backends(Settings(catalogue=str(path)), found)


def test_a_backend_stands_behind_the_first_resource_or_the_one_it_names(tmp_path: Path) -> None:
    """It has its resource's URL as the catalogue writes it, and the scopes of its rules."""
    there = CRM.replace('name = "crm"', 'name = "there"\nresource = "https://Other.test/mcp/"').replace(
        "a:read", "b:read"
    )
    found = backends(tmp_path, TWO + CRM + there).current()
    assert [(one.name, one.resource, *one.scopes) for one in found] == [
        ("crm", "http://localhost:9001/mcp", "a:read"),
        ("there", "https://other.test/mcp", "b:read"),
    ]


def test_a_catalogue_without_backends_has_none(tmp_path: Path) -> None:
    """As the demo's."""
    assert backends(tmp_path, TWO).current() == ()
    assert catalogue.Backends(Settings(), catalogue.load(Settings())).current() == ()


ADDRESSES = (
    "https://crm.test/mcp", "http://localhost:9101/mcp", "http://127.0.0.1:1/", "http://crm/", "http://10.0.0.5/mcp",
    "http://[::1]:9101/mcp", "http://crm.internal:80/mcp",
)  # fmt: skip  # a list


@pytest.mark.parametrize("url", ADDRESSES)
def test_plain_http_stays_on_this_machine_or_in_a_private_network(tmp_path: Path, url: str) -> None:
    """The URL is the audience: kept byte for byte."""
    found = backends(tmp_path, TWO + CRM.replace("https://crm.test/mcp", url))
    assert [one.url for one in found.current()] == [url]
    assert found.find(url, "http://localhost:9001/mcp") is not None
    assert found.find(f"{url}/", "http://localhost:9001/mcp") is None
    assert found.find(url, "https://other.test/mcp") is None


BROKEN = {
    "no-name": (CRM.replace('name = "crm"\n', ""), "backend.0.name: it is missing"),
    "upper-case": (CRM.replace('"crm"', '"CRM"'), "backend.0.name: String should match"),
    "underscore": (CRM.replace('"crm"', '"crm_eu"'), "backend.0.name: String should match"),
    "long-name": (CRM.replace('"crm"', f'"{"c" * 32}"'), "backend.0.name: String should match"),
    "twice": (CRM + CRM.replace("crm.test", "crm2.test"), "2 backends have the name crm"),
    "one-url": (
        CRM + CRM.replace('"crm"', '"crm2"'),
        "2 backends of http://localhost:9001/mcp have the url https://crm",
    ),
    "public-http": (CRM.replace("https://", "http://"), "backend.0.url: plain http is accepted only for this machine"),
    "no-url": (CRM.replace("https://crm.test/mcp", "crm.test"), "backend.0.url: it is not a URL"),
    "line-break": (CRM.replace("/mcp", "/m\\ncp"), "backend.0.url: it is not a URL"),
    "no-port": (CRM.replace("crm.test/", "crm.test:0/"), "backend.0.url: it is not a URL"),
    "other-scheme": (CRM.replace("https://", "file://"), "backend.0.url: it is not a URL"),
    "fragment": (CRM.replace("/mcp", "/mcp#x"), "backend.0.url: it has a user, a query or a fragment"),
    "query": (CRM.replace("/mcp", "/mcp?x=1"), "backend.0.url: it has a user, a query or a fragment"),
    "user": (CRM.replace("//crm", "//me:secret@crm"), "backend.0.url: it has a user, a query or a fragment"),
    "no-resource": (CRM.replace("url", 'resource = "https://x.test/"\nurl'), "there is no [[resource]] with the url"),
    "is-a-resource": (CRM.replace("https://crm.test", "https://Other.test"), "its url is that of a [[resource]]"),
    "no-scope": (CRM.replace("a:read", "a:delete"), "http://localhost:9001/mcp has no scope a:delete"),
    "others-scope": (CRM.replace("a:read", "b:read"), "http://localhost:9001/mcp has no scope b:read"),
    "time-out": (CRM.replace("[backend.tools]", "timeout = 0\n[backend.tools]"), "backend.0.timeout: Input should be"),
    "misspelt": (CRM.replace("backend.tools", "backend.tool"), "backend.0.tool: there is no such key"),
    "no-list": ('backend = "crm"', "backend: Input should be"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_backend_that_cannot_be_stops_the_start_with_one_line(tmp_path: Path, name: str) -> None:
    """The setting, the file, the place, what is wrong; never the password in a URL."""
    text, words = BROKEN[name]
    with pytest.raises(SettingsError) as wrong:
        backends(tmp_path, (text + TWO) if name == "no-list" else TWO + text)
    assert str(wrong.value).startswith(f"CATALOGUE: {tmp_path / 'catalogue.toml'}: ")
    assert words in str(wrong.value)
    assert "\n" not in str(wrong.value)
    assert "secret" not in str(wrong.value)


def looked_twice(found: catalogue.Backends) -> list[str]:
    """The names after two looks at the file."""
    found.look()
    found.look()
    return [one.name for one in found.current()]


def test_a_file_that_breaks_later_is_told_of_once(tmp_path: Path) -> None:
    """The last good backends stay, it is logged once, and so is the file's recovery."""
    found = backends(tmp_path, TWO + CRM)
    path = tmp_path / "catalogue.toml"
    with capture_logs() as logs:
        path.write_text("[[backend]", encoding="utf-8")
        assert looked_twice(found) == ["crm"]
        path.unlink()
        assert looked_twice(found) == ["crm"]
        path.write_text(TWO + CRM.replace('"crm"', '"people"'), encoding="utf-8")
        assert looked_twice(found) == ["people"]
    assert [(one["event"], one["log_level"]) for one in logs] == [
        ("backends_kept", "error"), ("backends_kept", "error"), ("backends_read", "info"),
    ]  # fmt: skip  # a list
    assert "is not TOML" in logs[0]["reason"]
    assert "cannot be read" in logs[1]["reason"]
