"""The catalogue: the resources and scopes that there are, and one line where it is wrong."""

from pathlib import Path

import pytest

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
    """Its resource is the one at MCP_RESOURCE_URL; operators' tools are not given away."""
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
    """Byte for byte, save a slash at the end and the letter case of scheme and host."""
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
    """With its path; bytes that are no text are explained too."""
    with pytest.raises(SettingsError, match=r"^CATALOGUE: .*gone.toml cannot be read"):
        catalogue.load(Settings(catalogue=str(tmp_path / "gone.toml")))
    (tmp_path / "bytes.toml").write_bytes(b"\xff")
    with pytest.raises(SettingsError, match=r"^CATALOGUE: .*bytes.toml is not TOML"):
        catalogue.load(Settings(catalogue=str(tmp_path / "bytes.toml")))
