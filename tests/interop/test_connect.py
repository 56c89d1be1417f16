"""Does what /connect tells people to do: each command and config as shown, until the sign-in opens."""

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from gatepost_idp.connect import guide
from tests.idp.connect.reading import App, apps_of
from tests.interop.node import HERE, VENDORS, node, packages
from tests.interop.pseudo_terminal import until
from tests.interop.terminal import NO_BROWSER
from tests.support.person import Person
from tests.support.ports import free_port
from tests.support.processes import Deployment, running
from tests.support.smtp import Postbox

# Where npm puts the program that a command starts, and under which lock file.
PROGRAMS = {
    "claude": (VENDORS, "@anthropic-ai/claude-code/cli-wrapper.cjs"),
    "codex": (VENDORS, "@openai/codex/bin/codex.js"),
    "gemini": (VENDORS, "@google/gemini-cli/bundle/gemini.js"),
    "mcp-remote": (HERE, "mcp-remote/dist/proxy.js"),
    "@modelcontextprotocol/inspector": (HERE, "@modelcontextprotocol/inspector/clients/launcher/build/index.js"),
}
RUN = ["claude-code", "claude-desktop", "gemini-cli", "codex", "inspector", "curl"]
SIGN_IN = r"https?://[^\s\x00-\x1f]+/authorize\?[^\s\x00-\x1f]+(?=[\s\x00-\x1f])"


@pytest.fixture
def apps(deployment: Deployment) -> dict[str, App]:
    """What the page says about the deployment to connect to."""
    return apps_of(httpx2.get(f"{deployment.issuer}/connect", trust_env=False).text)


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """The environment of a person who has just installed the programs."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "XDG_RUNTIME_DIR") if name in os.environ}
    return {**kept, **NO_BROWSER, "HOME": str(tmp_path), "TERM": "xterm"}


def command(line: str | Sequence[str]) -> list[str]:
    """A line of the page with the program's installed path; ``npx`` would fetch what is already there."""
    words = shlex.split(line) if isinstance(line, str) else list(line)
    if words[0] == "npx":
        words = [word for word in words[1:] if word != "-y"]
    source, script = PROGRAMS[words[0]]
    return [str(node()), str(packages(source) / "node_modules" / script), *words[1:]]


def ran(line: str, cwd: Path, environment: dict[str, str]) -> None:
    """Runs a line that ends on its own."""
    done = subprocess.run(
        command(line), cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def opens_the_sign_in(deployment: Deployment, address: str) -> None:
    """Whether the URL that a program opens leads to this deployment's sign-in, for its MCP URL."""
    assert address.startswith(f"{deployment.issuer}/authorize?")
    assert set(parse_qs(urlsplit(address).query)["resource"]) == {deployment.mcp}
    with httpx2.Client(trust_env=False, follow_redirects=True) as browser:
        page = browser.get(address)
    assert page.status_code == 200
    assert "Email me a link" in page.text


def test_the_page_knows_which_versions_were_run() -> None:
    """Raising a version requires running the lines again, and saying so beside them."""
    clients = guide.read(guide.FILE.read_text(encoding="utf-8")).client
    named = dict(re.findall(r"npm:(\S+) ([\d.]+)", " ".join(each.source for each in clients if each.known == "run")))
    files = [json.loads((folder / "package.json").read_text(encoding="utf-8")) for folder in (VENDORS, HERE)]
    pinned = files[1]["dependencies"] | files[0]["dependencies"]
    assert named == {name: version for name, version in pinned.items() if name in named}
    assert set(named) >= set(files[0]["dependencies"])
    assert [each.key for each in clients if each.known == "run"] == RUN


def test_claude_code(deployment: Deployment, apps: dict[str, App], home: dict[str, str], tmp_path: Path) -> None:
    """`claude mcp add`, then `claude mcp login`."""
    add, login = apps["claude-code"].copied
    ran(add, tmp_path, home)
    opens_the_sign_in(deployment, until(SIGN_IN, command(login), tmp_path, home))


def test_claude_desktop(deployment: Deployment, apps: dict[str, App], home: dict[str, str], tmp_path: Path) -> None:
    """What Claude Desktop starts for this config: mcp-remote."""
    (config,) = map(json.loads, apps["claude-desktop"].copied)
    server = config["mcpServers"]["gatepost"]
    opens_the_sign_in(deployment, until(SIGN_IN, command([server["command"], *server["args"]]), tmp_path, home))


def test_codex(deployment: Deployment, apps: dict[str, App], home: dict[str, str], tmp_path: Path) -> None:
    """`codex mcp add` opens the sign-in on its own."""
    add = apps["codex"].copied[0]
    opens_the_sign_in(deployment, until(SIGN_IN, command(add), tmp_path, home))


def test_codex_by_its_file(deployment: Deployment, apps: dict[str, App], home: dict[str, str], tmp_path: Path) -> None:
    """config.toml written manually, then `codex mcp login`."""
    config, login = apps["codex"].copied[1:]
    (tmp_path / ".codex").mkdir()
    (tmp_path / ".codex" / "config.toml").write_text(config, encoding="utf-8")
    opens_the_sign_in(deployment, until(SIGN_IN, command(login), tmp_path, home))


def test_gemini_cli(deployment: Deployment, apps: dict[str, App], home: dict[str, str], tmp_path: Path) -> None:
    """`gemini mcp add`, then `/mcp auth` in a trusted folder, which asks before it opens anything."""
    add, auth = apps["gemini-cli"].copied
    ran(add, tmp_path, home)
    trusting = {**home, "GEMINI_CLI_TRUST_WORKSPACE": "true", "GEMINI_API_KEY": "none is needed to sign in here"}
    typed = [*command("gemini"), "-p", auth]
    opens_the_sign_in(deployment, until(SIGN_IN, typed, tmp_path, trusting, {"[Y/n]": "y"}))


def test_inspector(deployment: Deployment, apps: dict[str, App], home: dict[str, str], tmp_path: Path) -> None:
    """Its command line, as a person at a terminal starts it."""
    (line,) = apps["inspector"].copied
    private = {**home, "MCP_INSPECTOR_SECRET_STORE": "file", "MCP_STORAGE_DIR": str(tmp_path)}
    opens_the_sign_in(deployment, until(SIGN_IN, command(line), tmp_path, private))


def test_curl(deployment: Deployment, postbox: Postbox, home: dict[str, str], tmp_path: Path) -> None:
    """A personal token, pasted as the page says, and the tools that it may use."""
    if shutil.which("curl") is None:
        pytest.skip("install it: apt-get install curl")
    with introspecting(deployment, tmp_path) as mcp, Person("curl@example.com", postbox) as person:
        curl = apps_of(httpx2.get(f"{deployment.issuer}/connect", trust_env=False).text)["curl"]
        paste, call = curl.copied
        token = personal_token(person, curl.links[0])
        line = call.replace(deployment.mcp, mcp)
        assert line != call
        script = ["bash", "-c", f"{paste}\n{line}"]
        done = subprocess.run(
            script, input=f"{token}\n", env=home, capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 0, done.stderr
    tools = json.loads(done.stdout)["result"]["tools"]
    assert "demo_get_time" in [tool["name"] for tool in tools]
    assert "demo_echo" not in [tool["name"] for tool in tools]


@contextlib.contextmanager
def introspecting(deployment: Deployment, folder: Path) -> Iterator[str]:
    """Another resource server, with credentials for /introspect; yields its URL."""
    made = json.loads(deployment.gatepost("clients", "add", "The tools", "--resource-server", "--json"))
    port = free_port()
    credentials = {f"INTROSPECTION_{name.upper()}": made[name] for name in ("client_id", "client_secret")}
    environment = {**deployment.environment, **credentials, "RESOURCE_PORT": str(port)}
    base = f"http://127.0.0.1:{port}"
    with running(base, environment, folder / "resource.log", "gatepost_resource"):
        yield f"{base}/mcp"


def personal_token(person: Person, address: str) -> str:
    """Made on the page that the link leads to, by a person who signs in there."""
    person.open(address)
    person.ask_for_mail()
    person.sign_in_by_code()
    person.submit(person.form("name"), name="curl", scope=["demo:read"], days="30")
    found = re.search(r"<pre[^>]*>(gp_pt_[\w-]+)</pre>", person.text)
    assert found, person.text
    return found.group(1)
