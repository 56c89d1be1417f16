"""A deployment with a known fault: the first thing doctor names is the fault, with the setting that fixes it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from gatepost_idp.operate.doctor.examination import first
from gatepost_idp.operate.doctor.finding import Finding
from gatepost_idp.operate.doctor.outside.network import Addresses
from tests.idp.doctor import bends
from tests.idp.doctor.deployment import AUTH, ISSUERS, MCP, ONE, Names, Servers, fronted, loud, servers, visited
from tests.idp.doctor.front import Bend, Route, listening, straight
from tests.support.ports import free_port

WELL_KNOWN_AUTH = "/.well-known/oauth-authorization-server/auth"


@dataclass(frozen=True)
class Break:
    """A mistake, and what doctor has to name: the fault, and part of the setting to change."""

    what: str
    fault: str
    setting: str
    bend: Bend = straight
    shape: str = "two-hosts"
    url: str = ""
    knows_settings: bool = True
    hosts: Mapping[str, Addresses] = field(default_factory=dict)
    patience: float = 10.0

    def __str__(self) -> str:
        return self.what.replace(" ", "-")


BREAKS = [
    # The URL itself
    Break(
        "an address instead of a URL", "url-is-none", "the MCP URL", url="mcp.example.test/mcp", knows_settings=False
    ),
    Break("plain http pasted", "url-plain-http", "MCP_RESOURCE_URL", url=f"http://{MCP}/mcp"),
    Break("the URL lacks mcp", "url-lacks-path", "the MCP URL", url=f"https://{MCP}"),
    Break(
        "the URL lacks mcp seen from elsewhere",
        "url-lacks-path",
        "the MCP URL",
        url=f"https://{MCP}/",
        knows_settings=False,
    ),
    Break("MCP_RESOURCE_URL is of another host", "url-differs", "MCP_RESOURCE_URL", url=f"https://{ONE}/mcp"),
    Break(
        "a port that Claude does not call",
        "url-other-port",
        "MCP_RESOURCE_URL",
        url=f"https://{MCP}:8443/mcp",
        knows_settings=False,
    ),
    # The way there
    Break("no DNS record", "no-name", "DNS: A record", hosts={MCP: Addresses()}),
    Break("no DNS record for the issuer", "no-name", "DNS: A record", hosts={AUTH: Addresses()}),
    Break(
        "the resource server has the issuer mistyped",
        "no-name",
        "OAUTH_ISSUER",
        bends.replacing(b"auth.example", b"auht.example"),
        hosts={"auht.example.test": Addresses()},
        knows_settings=False,
    ),
    Break("IPv6 alone", "no-ipv4", "DNS: A record", hosts={MCP: Addresses((), ("2606:2800:21f::1",))}),
    Break("an address at home", "private-address", "DNS: A record", hosts={MCP: Addresses(("192.168.1.7",))}),
    # What answers at the MCP URL
    Break("the proxy rewrites Host", "host-rewritten", "ALLOWED_HOSTS", bends.rewriting_host("internal:9001")),
    Break(
        "the proxy rewrites Host for the issuer",
        "host-rewritten",
        "ALLOWED_HOSTS",
        bends.rewriting_host("internal:9000", AUTH),
    ),
    Break(
        "the proxy does not know the MCP path", "not-routed", "path of the MCP URL", bends.answering(404, path="/mcp")
    ),
    Break("another site answers", "not-routed", "path of the MCP URL", bends.answering(200)),
    Break("the proxy redirects to a slash", "redirected", "redirect", bends.redirecting_to_slash),
    Break(
        "the proxy wants its own password",
        "sign-in-in-front",
        "its own sign-in",
        bends.answering(401, www_authenticate='Basic realm="staff"'),
    ),
    Break(
        "an access portal in front",
        "sign-in-in-front",
        "its own sign-in",
        bends.answering(302, location="https://portal.example.net/login?next=x"),
    ),
    Break(
        "the resource server failed",
        "server-fault",
        "log",
        bends.answering(500, path="/mcp", body=b"{}", kind="application/json"),
    ),
    Break("the MCP URL answers too late", "too-late", "time-outs", bends.delaying(3, "/mcp"), patience=0.5),
    Break("WWW-Authenticate is stripped", "challenge-missing", "WWW-Authenticate", bends.stripping("www-authenticate")),
    Break(
        "the proxy adds a token of its own",
        "not-protected",
        "behind the MCP URL",
        bends.answering(200, path="/mcp", body=b'{"jsonrpc":"2.0","id":1,"result":{}}', kind="application/json"),
    ),
    # Metadata
    Break(
        "the resource's metadata is not routed",
        "not-routed",
        "path /.well-known/oauth-protected-resource/mcp",
        bends.answering(404, path="/.well-known/oauth-protected-resource"),
    ),
    Break(
        "the root form is not routed",
        "not-routed",
        "path /.well-known/oauth-protected-resource",
        bends.answering_exactly(404, "/.well-known/oauth-protected-resource"),
    ),
    Break(
        "the metadata names no issuer",
        "no-issuer",
        "behind the MCP URL",
        bends.replacing(b'["https://auth.example.test"]', b"[]"),
    ),
    Break(
        "the issuer is localhost",
        "issuer-on-this-machine",
        "OAUTH_ISSUER",
        bends.replacing(
            b"https://auth.example.test", b"http://localhost:9000", "/.well-known/oauth-protected-resource"
        ),
    ),
    Break(
        "the issuer is plain http",
        "issuer-plain-http",
        "OAUTH_ISSUER",
        bends.replacing(b"https://auth", b"http://auth", "/.well-known/oauth-protected-resource"),
    ),
    Break(
        "the issuer has a slash at the end",
        "issuers-differ",
        "OAUTH_ISSUER",
        bends.replacing(b'auth.example.test"', b'auth.example.test/"', "/.well-known/oauth-protected-resource"),
    ),
    Break(
        "a proxy writes http into the metadata",
        "issuer-differs",
        "OAUTH_ISSUER",
        bends.replacing(b"https://", b"http://", "/.well-known/oauth-authorization-server"),
    ),
    Break(
        "a proxy writes http into the endpoints",
        "endpoint-elsewhere",
        "OAUTH_ISSUER",
        bends.replacing(
            b"https://auth.example.test/", b"http://auth.example.test/", "/.well-known/oauth-authorization-server"
        ),
    ),
    Break(
        "the inserted form is not routed",
        "not-routed",
        f"path {WELL_KNOWN_AUTH}",
        bends.answering(404, path=WELL_KNOWN_AUTH),
        shape="issuer-path",
    ),
    Break(
        "the appended form is not routed",
        "not-routed",
        "path /auth/.well-known/openid-configuration",
        bends.answering(404, path="/auth/.well-known"),
        shape="stripped",
    ),
    Break(
        "a page for every unknown path",
        "not-routed",
        "path /.well-known/openid-configuration",
        bends.answering(200, path="/.well-known/openid-configuration"),
    ),
    # Endpoints
    Break("the token endpoint is not routed", "not-routed", "path /token", bends.answering(404, path="/token")),
    Break("a firewall blocks registration", "filtered", "firewall", bends.answering(403, path="/register")),
    Break(
        "the authorization server is not ready",
        "server-not-ready",
        "DATABASE_URL",
        bends.answering(503, path="/token", body=b'{"error":"temporarily_unavailable"}', kind="application/json"),
    ),
    Break("the proxy has its own error pages", "errors-replaced", "error pages", bends.replacing_errors),
    Break("the proxy redirects the slash", "redirected", "redirect", bends.redirecting_from_slash),
    # CORS
    Break("OPTIONS is swallowed", "preflight-swallowed", "OPTIONS", bends.swallowing_options),
    Break(
        "the proxy adds CORS headers",
        "sharing-doubled",
        "its own CORS",
        bends.adding("access-control-allow-origin", "*"),
    ),
    Break(
        "the proxy hides the challenge",
        "sharing-stripped",
        "Access-Control",
        bends.stripping("access-control-expose-headers"),
    ),
    # Between
    Break(
        "the Authorization header is swallowed",
        "authorization-swallowed",
        "Authorization",
        bends.swallowing_authorization,
    ),
    Break("a bot filter stops Claude", "filtered", "bot filter", bends.filtering("Claude-User")),
    Break("a bot filter stops every program", "filtered", "bot filter", bends.filtering("Mozilla", welcome=True)),
    Break("a bot filter stops discovery", "filtered", "bot filter", bends.filtering("python-httpx")),
    Break("bodies are limited", "body-limited", "body size", bends.limiting(64 * 1024)),
    Break("five seconds for an answer", "slow", "time-outs", bends.delaying(1.5), patience=4.0),
    Break("discovery takes longer than Claude waits", "too-late", "time-outs", bends.delaying(5), patience=0.5),
    Break("a clock is months behind", "clocks-differ", "clock", bends.behind_the_times),
]


def assert_first(found: Finding | None, fault: str, setting: str) -> None:
    """Asserts that the first finding is that fault, with that setting, what was seen, what was expected, an example."""
    assert found is not None
    assert (found.fault, setting in found.setting) == (fault, True), found
    assert all((found.seen, found.expected, found.example)), found


@pytest.mark.parametrize("broken", BREAKS, ids=str)
def test_the_first_thing_named_is_the_cause(
    public: dict[str, Servers], network: Names, tmp_path: Path, broken: Break
) -> None:
    """Whatever is in front of healthy servers, the first thing named is the one to fix."""
    both = public[broken.shape]
    network.hosts.update(broken.hosts)
    network.patience = broken.patience
    settings = both.idp.settings if broken.knows_settings else None
    with fronted(network, both.routes(broken.shape), tmp_path, broken.bend):
        outcomes = visited(network, settings, broken.url or both.mcp)
    assert_first(first(outcomes), broken.fault, broken.setting)


def test_what_hangs_on_a_failure_is_left_out(public: dict[str, Servers], network: Names, tmp_path: Path) -> None:
    """One cause, one finding: checks that depend on it are reported as skipped, with the reason."""
    both = public["two-hosts"]
    network.hosts[MCP] = Addresses()
    with fronted(network, both.routes("two-hosts"), tmp_path):
        outcomes = visited(network, both.idp.settings, both.mcp)
    assert [finding.fault for finding in loud(outcomes)] == ["no-name"]
    left_out = {outcome.check: outcome.left_out for outcome in outcomes if outcome.left_out}
    assert left_out["issuer"] == "dns"
    assert left_out["cors"] == "dns"


@pytest.mark.parametrize(
    "url",
    [" ", "mcp", "ftp://mcp.example.test/mcp", "https://", "https://[::1/mcp", "https://mcp.example.test:99999/mcp"],
)
def test_what_is_no_url(network: Names, url: str) -> None:
    """Whatever is pasted gives a finding, not a traceback."""
    outcomes = visited(network, None, url)
    assert_first(first(outcomes), "url-is-none", "the MCP URL")


def test_a_password_in_the_url_is_not_shown(network: Names) -> None:
    """Clients refuse a URL with a user name, and its password must not be shown."""
    found = first(visited(network, None, f"https://alice:hunter2@{MCP}/mcp"))
    assert_first(found, "url-is-none", "the MCP URL")
    assert "hunter2" not in str(found)


HOSTILE: list[object] = [None, 7, [], ["javascript:alert(1)"], ["https://[x"], [{}], "https://auth.example.test"]


@pytest.mark.parametrize("named", HOSTILE)
def test_metadata_that_names_nonsense(
    public: dict[str, Servers], network: Names, tmp_path: Path, named: object
) -> None:
    """Whatever is in place of the issuer gives a finding that says so."""
    both = public["two-hosts"]
    bend = bends.replacing(b'["https://auth.example.test"]', json.dumps(named).encode())
    with fronted(network, both.routes("two-hosts"), tmp_path, bend):
        assert_first(first(visited(network, both.idp.settings, both.mcp)), "no-issuer", "behind the MCP URL")


def test_what_a_stranger_says_cannot_steer_the_terminal(
    public: dict[str, Servers], network: Names, tmp_path: Path
) -> None:
    """Escape sequences in an answer are removed, and a long answer is truncated."""
    both = public["two-hosts"]
    nonsense = json.dumps("\x1b]0;owned\x07" + "x" * 5000).encode()
    bend = bends.replacing(b'"https://mcp.example.test/mcp"', nonsense)
    with fronted(network, both.routes("two-hosts"), tmp_path, bend):
        found = first(visited(network, both.idp.settings, both.mcp))
    assert_first(found, "resource-differs", "MCP_RESOURCE_URL")
    assert found is not None
    assert "\x1b" not in found.seen
    assert "\x07" not in found.seen
    assert len(found.seen) < 400


def test_a_refused_host_names_the_whole_issuer(network: Names, tmp_path: Path) -> None:
    """The example is the value to set, path included."""
    issuer, mcp = ISSUERS["stripped"]
    with servers(tmp_path, issuer, mcp, idp=DEFAULTS) as both, fronted(network, both.routes("stripped"), tmp_path):
        found = first(visited(network, None, mcp))
    assert_first(found, "host-refused", "OAUTH_ISSUER")
    assert found is not None
    assert found.example.startswith(f"OAUTH_ISSUER={issuer},")


def _now() -> datetime:
    return datetime.now(UTC)


CERTIFICATES: dict[str, tuple[str, str, Callable[[trustme.CA], trustme.LeafCert]]] = {
    "expired": (
        "certificate-expired",
        "certificate",
        lambda ca: ca.issue_cert(AUTH, MCP, not_before=_now() - timedelta(90), not_after=_now() - timedelta(1)),
    ),
    "by nobody that one knows": ("certificate-untrusted", "certificate", lambda _: trustme.CA().issue_cert(AUTH, MCP)),
    "for another name": ("certificate-name", "certificate", lambda ca: ca.issue_cert("www.example.test")),
    "for one of two hosts": ("certificate-name", "certificate", lambda ca: ca.issue_cert(MCP)),
    "that ends in three days": (
        "certificate-ends",
        "certificate",
        lambda ca: ca.issue_cert(AUTH, MCP, not_before=_now() - timedelta(87), not_after=_now() + timedelta(3)),
    ),
}


@pytest.mark.parametrize("kind", CERTIFICATES)
def test_a_certificate(public: dict[str, Servers], network: Names, tmp_path: Path, kind: str) -> None:
    """A certificate that clients refuse, or soon will, is named with its host and its fault."""
    fault, setting, issue = CERTIFICATES[kind]
    both = public["two-hosts"]
    with fronted(network, both.routes("two-hosts"), tmp_path, certificate=issue(network.authority)):
        outcomes = visited(network, both.idp.settings, both.mcp)
    assert_first(first(outcomes), fault, setting)


def test_a_certificate_that_lives_for_six_days(public: dict[str, Servers], network: Names, tmp_path: Path) -> None:
    """Short-lived certificates are no reason to warn while they are fresh."""
    both = public["two-hosts"]
    fresh = network.authority.issue_cert(AUTH, MCP, not_before=_now() - timedelta(2), not_after=_now() + timedelta(4))
    with fronted(network, both.routes("two-hosts"), tmp_path, certificate=fresh):
        assert loud(visited(network, both.idp.settings, both.mcp)) == []


def test_a_closed_port(public: dict[str, Servers], network: Names) -> None:
    """Nobody listens at port 443."""
    network.front = free_port()
    outcomes = visited(network, public["two-hosts"].idp.settings, public["two-hosts"].mcp)
    assert_first(first(outcomes), "port-closed", "firewall")


def test_plain_http_at_port_443(public: dict[str, Servers], network: Names) -> None:
    """The server at that port does not speak TLS."""
    both = public["two-hosts"]
    network.front = both.resource_port
    outcomes = visited(network, both.idp.settings, both.mcp)
    assert_first(first(outcomes), "tls-broken", "TLS")


@pytest.mark.parametrize(("host", "setting"), [(MCP, "RESOURCE_PORT"), (AUTH, "IDP_PORT")])
def test_a_proxy_that_looks_at_the_wrong_port(
    public: dict[str, Servers], network: Names, tmp_path: Path, host: str, setting: str
) -> None:
    """502 from the proxy: the settings of where that server listens are named."""
    both = public["two-hosts"]
    routes = [Route(r.host, r.path, free_port() if r.host == host else r.port) for r in both.routes("two-hosts")]
    with fronted(network, routes, tmp_path):
        outcomes = visited(network, both.idp.settings, both.mcp)
    assert_first(first(outcomes), "server-away", setting)


def test_a_front_that_hangs_up(public: dict[str, Servers], network: Names, tmp_path: Path) -> None:
    """No HTTP answer at all."""
    both = public["two-hosts"]

    async def dead(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"99")]})
            await send({"type": "http.response.body", "body": b"short"})

    with listening(dead, network.authority.issue_cert(AUTH, MCP), tmp_path) as network.front:
        outcomes = visited(network, both.idp.settings, both.mcp)
    assert_first(first(outcomes), "cut-off", "reverse proxy")


@dataclass(frozen=True)
class Mistake:
    """A server with one setting changed; ``theirs``: doctor reads the authorization server's environment."""

    fault: str
    setting: str
    idp: Mapping[str, Any] = field(default_factory=dict)
    resource: Mapping[str, Any] = field(default_factory=dict)
    knows_settings: bool = False
    shape: str = "two-hosts"
    url: str = f"https://{MCP}/mcp"
    keys_nowhere: bool = False


DEFAULTS = {"oauth_issuer": "http://localhost:9000", "mcp_resource_url": "http://localhost:9001/mcp"}
MISTAKES = {
    "OAUTH_ISSUER was not set": Mistake("host-refused", "OAUTH_ISSUER", idp=DEFAULTS),
    "MCP_RESOURCE_URL was not set": Mistake("host-refused", "MCP_RESOURCE_URL", resource=DEFAULTS),
    "OAUTH_ISSUER lacks its path": Mistake(
        "issuer-differs",
        "OAUTH_ISSUER",
        idp={"oauth_issuer": f"https://{ONE}"},
        shape="stripped",
        url=f"https://{ONE}/mcp",
    ),
    "OAUTH_ISSUER of the resource server is another": Mistake(
        "issuers-differ", "OAUTH_ISSUER", resource={"oauth_issuer": f"https://{ONE}"}, knows_settings=True
    ),
    "MCP_RESOURCE_URL has a slash too many": Mistake(
        "resource-differs", "MCP_RESOURCE_URL", resource={"mcp_resource_url": f"https://{MCP}/mcp/"}
    ),
    "MCP_RESOURCE_URL has another path": Mistake(
        "challenge-elsewhere", "MCP_RESOURCE_URL", resource={"mcp_resource_url": f"https://{MCP}/tools"}
    ),
    "ALLOWED_ORIGINS lacks one of Claude's": Mistake(
        "origin-refused", "ALLOWED_ORIGINS", resource={"allowed_origins": ("https://claude.ai",)}
    ),
    "the resource server has another's secret": Mistake(
        "introspection-refused",
        "INTROSPECTION_CLIENT_SECRET",
        resource={"introspection_client_id": "somebody", "introspection_client_secret": "not the secret"},
    ),
    "the resource server cannot reach the issuer": Mistake(
        "keys-unfetched", "route to OAUTH_ISSUER", keys_nowhere=True
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_setting(network: Names, tmp_path: Path, name: str) -> None:
    """One server has one setting wrong: doctor names it."""
    mistake = MISTAKES[name]
    pair, nowhere = ISSUERS[mistake.shape], free_port() if mistake.keys_nowhere else 0
    with servers(tmp_path, *pair, idp=mistake.idp, resource=mistake.resource, keys_at=nowhere) as both:
        settings = both.idp.settings if mistake.knows_settings else None
        with fronted(network, both.routes(mistake.shape), tmp_path):
            outcomes = visited(network, settings, mistake.url)
    assert_first(first(outcomes), mistake.fault, mistake.setting)


def test_the_inspector_is_information(public: dict[str, Servers], network: Names, tmp_path: Path) -> None:
    """That the Inspector's origin is not allowed is information, with the setting, and not a failure."""
    both = public["two-hosts"]
    with fronted(network, both.routes("two-hosts"), tmp_path):
        outcomes = visited(network, both.idp.settings, both.mcp)
    [told] = [finding for outcome in outcomes for finding in outcome.findings if finding.fault == "inspector-refused"]
    assert (told.level, told.setting) == ("information", "ALLOWED_ORIGINS")
    assert "http://localhost:6274" in told.example


RECORDS: dict[str, tuple[str, ...]] = {
    "example.com": ("v=spf1 -all",),
    "s1._domainkey.example.com": ("v=DKIM1; p=abc",),
    "_dmarc.example.com": ("v=DMARC1; p=none",),
}


@pytest.mark.parametrize(
    ("lacking", "fault", "setting"),
    [
        ("example.com", "spf-missing", "SPF"),
        ("s1._domainkey.example.com", "dkim-missing", "DKIM_SELECTOR"),
        ("_dmarc.example.com", "dmarc-missing", "DMARC"),
    ],
)
def test_records_for_mail(
    public: dict[str, Servers], network: Names, tmp_path: Path, lacking: str, fault: str, setting: str
) -> None:
    """A missing record of MAIL_FROM's domain is a warning; with all three, or without DNS, there is none."""
    both = public["two-hosts"]
    settings = both.idp.settings.model_copy(update={"mail_from": "gatepost@example.com", "dkim_selector": "s1"})
    with fronted(network, both.routes("two-hosts"), tmp_path):
        network.records = {name: texts for name, texts in RECORDS.items() if name != lacking}
        found = first(visited(network, settings, both.mcp))
        assert_first(found, fault, setting)
        assert found is not None
        assert found.level == "warning"
        network.records = RECORDS
        assert loud(visited(network, settings, both.mcp)) == []
        network.records = None
        assert loud(visited(network, settings, both.mcp)) == []


def test_a_dmarc_record_of_the_domain_above(public: dict[str, Servers], network: Names, tmp_path: Path) -> None:
    """It applies to mail from subdomains too."""
    both = public["two-hosts"]
    settings = both.idp.settings.model_copy(update={"mail_from": "gatepost@mail.example.com"})
    network.records = {"mail.example.com": ("v=spf1 -all",), "_dmarc.example.com": ("v=DMARC1; p=none",)}
    with fronted(network, both.routes("two-hosts"), tmp_path):
        assert loud(visited(network, settings, both.mcp)) == []
        del network.records["_dmarc.example.com"]
        assert_first(first(visited(network, settings, both.mcp)), "dmarc-missing", "DMARC")
