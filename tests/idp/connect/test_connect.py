"""/connect and the home page: the right URL, in the form each app reads, or a warning where it cannot be used."""

import base64
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx2
import pytest

from gatepost_idp.connect import guide
from tests.idp.connect.reading import App, apps_of
from tests.support.serving import Idp, serving

LOCAL = "http://localhost:9001/mcp"
PUBLIC = "https://mcp.example.com/mcp"
ISSUER = "https://auth.example.com/sign"
HOSTED = {"claude", "chatgpt"}
ALL = ["claude", "claude-code", "claude-desktop", "cursor", "vscode", "windsurf", "gemini-cli", "chatgpt", "codex",
       "inspector", "curl"]  # fmt: skip  # a list of names


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Idp]:
    """A deployment on this machine."""
    with serving(tmp_path_factory.mktemp("local")) as idp:
        yield idp


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Idp]:
    """A deployment with public names, whose issuer has a path."""
    changes = {"oauth_issuer": ISSUER, "mcp_resource_url": PUBLIC, "secret_key": ("s" * 40,)}
    with serving(tmp_path_factory.mktemp("public"), **changes) as idp:
        idp.issuer = idp.base
        yield idp


@pytest.fixture(params=["local", "public"])
def shown(request: pytest.FixtureRequest) -> tuple[str, dict[str, App]]:
    """The MCP URL of each deployment, and its page."""
    idp: Idp = request.getfixturevalue(request.param)
    return (LOCAL if request.param == "local" else PUBLIC), apps_of(idp.get("/connect").text)


def configs(app: App) -> list[dict[str, Any]]:
    """The JSON among the texts to copy."""
    return [json.loads(text) for text in app.copied if text.startswith("{")]


@pytest.mark.parametrize("path", ["/", "/connect"])
def test_it_is_for_everybody(local: Idp, path: str) -> None:
    """Without sign-in or cookie; for GET and HEAD, and whatever the query."""
    answer = local.get(path)
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    assert local.request("HEAD", path).status_code == 200
    assert local.get(f"{path}?url=https://evil.example/mcp").text == answer.text


def test_a_request_cannot_choose_the_url(public: Idp) -> None:
    """The page is made from the settings: a forged forwarded host sends nobody to a stranger's server."""
    forged = {"x-forwarded-host": "evil.example", "x-forwarded-proto": "http", "forwarded": "host=evil.example"}
    assert public.get("/connect", headers=forged).text == public.get("/connect").text


def test_every_app_is_there(shown: tuple[str, dict[str, App]]) -> None:
    """In this order, each with something to copy and a button for it, and no placeholder left."""
    url, apps = shown
    assert list(apps) == ALL
    for key, app in apps.items():
        assert app.name, key
        assert app.buttons == len(app.copied), key
        assert app.warned or any(url in text for text in app.copied), key
        assert not re.search(r"\{[a-z0-9]+\}", app.words), key


def test_on_this_machine_hosted_apps_get_a_warning_and_no_url(local: Idp) -> None:
    """Their dialogs refuse http and their servers cannot reach localhost; for Claude there is mcp-remote."""
    apps = apps_of(local.get("/connect").text)
    assert {key for key, app in apps.items() if app.warned} == HOSTED
    for key in HOSTED:
        assert apps[key].copied == []
        assert LOCAL not in apps[key].words
    assert apps["claude"].links == ["#claude-desktop"]
    assert "mcp-remote" in apps["claude-desktop"].copied[0]


def test_a_public_deployment_has_no_warning(public: Idp) -> None:
    """Claude and ChatGPT get the URL."""
    apps = apps_of(public.get("/connect").text)
    assert not any(app.warned for app in apps.values())
    assert apps["claude"].copied == apps["chatgpt"].copied == [PUBLIC]


@pytest.mark.parametrize(
    ("url", "reached"),
    [
        (PUBLIC, True),
        ("https://203.0.114.7/mcp", True),
        ("https://mcp.example.com:8443/mcp", False),
        ("https://10.0.0.5/mcp", False),
        ("https://[fd00::5]/mcp", False),
        ("https://mcp.internal/mcp", False),
        ("https://nas/mcp", False),
        ("https://localhost:9001/mcp", False),
        (LOCAL, False),
        ("http://[::1]:9001/mcp", False),
    ],
)
def test_who_can_be_reached_from_the_internet(url: str, reached: bool) -> None:
    """https, port 443, no private name or address, as Claude's servers require."""
    assert guide.is_public(url) is reached


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        ("claude-desktop", [{"mcpServers": {"gatepost": {"command": "npx", "args": ["-y", "mcp-remote", "URL"]}}}]),
        ("cursor", [{"mcpServers": {"gatepost": {"url": "URL"}}}]),
        ("vscode", [{"servers": {"gatepost": {"type": "http", "url": "URL"}}}]),
        (
            "windsurf",
            [{"mcpServers": {"gatepost": {"url": "URL"}}}, {"mcpServers": {"gatepost": {"serverUrl": "URL"}}}],
        ),
    ],
)
def test_what_goes_into_a_file_is_json(shown: tuple[str, dict[str, App]], key: str, wanted: object) -> None:
    """With the keys that the app reads, and the URL byte for byte."""
    url, apps = shown
    assert json.dumps(configs(apps[key])) == json.dumps(wanted).replace("URL", url)


def test_what_goes_into_codex_is_toml(shown: tuple[str, dict[str, App]]) -> None:
    """One table with the URL."""
    url, apps = shown
    (text,) = [text for text in apps["codex"].copied if text.startswith("[")]
    assert tomllib.loads(text) == {"mcp_servers": {"gatepost": {"url": url}}}


def test_the_link_to_cursor_decodes_to_its_config(shown: tuple[str, dict[str, App]]) -> None:
    """A name and base64 of the JSON that mcp.json would have under it."""
    url, apps = shown
    (link,) = apps["cursor"].links
    parts = urlsplit(link)
    assert (parts.scheme, parts.netloc, parts.path) == ("cursor", "anysphere.cursor-deeplink", "/mcp/install")
    query = dict(parse_qsl(parts.query, strict_parsing=True))
    assert query.pop("name") == "gatepost"
    assert json.loads(base64.b64decode(query.pop("config"), validate=True)) == {"url": url}
    assert query == {}


def test_the_link_to_vs_code_decodes_to_its_config(shown: tuple[str, dict[str, App]]) -> None:
    """JSON, as encodeURIComponent writes it."""
    url, apps = shown
    (link,) = apps["vscode"].links
    assert link.startswith("vscode:mcp/install?%7B")
    carried = json.loads(unquote(link.partition("?")[2]))
    assert carried == {"name": "gatepost", "type": "http", "url": url}


def test_a_command_takes_the_url_as_one_word() -> None:
    """zsh would take [::1] for a pattern, and a tilde is somebody's home."""
    for url in ("http://[::1]:9001/mcp", "https://mcp.example.com/~a/mcp"):
        for app in guide.fill(guide.read(guide.FILE.read_text(encoding="utf-8")), url, "https://x.test/account"):
            for step in app.steps:
                if step.form == "shell" and url in step.show:
                    assert url in shlex.split(step.show), app.key
                    assert f"'{url}'" in step.show, app.key


def test_curl_is_told_where_to_make_a_token(public: Idp, local: Idp) -> None:
    """At an address below the issuer's path."""
    assert apps_of(public.get("/connect").text)["curl"].links == [f"{ISSUER}/account/tokens"]
    assert apps_of(local.get("/connect").text)["curl"].links == [f"{local.issuer}/account/tokens"]


def test_the_home_page_says_what_this_is_and_where_to_go(public: Idp) -> None:
    """The address to paste, the steps, the account."""
    page = public.get("/").text
    assert f"<pre>{PUBLIC}</pre>" in page
    assert f'data-copy="{PUBLIC}"' in page
    assert f'href="{ISSUER}/connect"' in page
    assert f'href="{ISSUER}/account"' in page


def test_a_long_url_fits_on_the_page(tmp_path: Path) -> None:
    """Still under 20 KiB with an address of 100 characters."""
    changes = {
        "oauth_issuer": f"https://{'a' * 50}.example.com",
        "mcp_resource_url": f"https://{'m' * 60}.example.com/{'p' * 19}",
        "secret_key": ("s" * 40,),
    }
    with serving(tmp_path, **changes) as idp:
        page = httpx2.get(f"{idp.base}/connect", trust_env=False)
    assert len(changes["mcp_resource_url"]) == 100
    assert len(page.content) < 20 * 1024


GOOD = """
[[client]]
key = "a"
name = "A"
reach = "here"
known = "vendor"
source = "https://a.test/docs"
date = 2026-11-21
step = [{ say = "Put it in:", show = '{"url": "{url}"}', as = "json" }]
"""


def test_a_whole_file_is_taken() -> None:
    """The file that the next test breaks is valid before that."""
    (app,) = guide.fill(guide.read(GOOD), LOCAL, "https://x.test/account")
    assert json.loads(app.steps[0].show) == {"url": LOCAL}


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ("\"}'", "\"'", "a: json: "),
        ("{url}", "{uri}", "a: nothing is known for {uri}"),
        ('as = "json"', 'as = "toml"', "a: toml: "),
        ('as = "json"', 'as = "yaml"', "yaml"),
        (', as = "json"', "", "needs a form"),
        ('say = "Put it in:", ', "", "needs words"),
        ("show =", 'link = "javascript:alert(1)", label = "x", show =', "link"),
        ("show =", 'link = "https://a.test", show =', "needs a label"),
        ('reach = "here"', 'reach = "here"\ninstead = "b"', "'b' does not work where it is named instead"),
        ('source = "https://a.test/docs"\n', "", "source"),
        ("date = 2026-11-21", 'date = "lately"', "date"),
        ('name = "A"', 'name = "A"\ncolour = "red"', "colour"),
        ("[[client]]", "[[clients]]", "client"),
    ],
)
def test_a_broken_file_stops_the_start(was: str, becomes: str, said: str) -> None:
    """Config that would not parse, an unknown placeholder, a link that runs script, a fact without its source."""
    assert was in GOOD
    with pytest.raises(ValueError, match=re.escape(said)):
        guide.fill(guide.read(GOOD.replace(was, becomes)), LOCAL, "https://x.test/account")
