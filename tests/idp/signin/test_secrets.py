"""A thief of the database or a reader of the log gets nothing that signs anybody in."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import pytest

from tests.idp.signin.walk import asks
from tests.support.oauth import CALLBACK, answer_of, challenge_of, registered
from tests.support.person import Person
from tests.support.processes import Deployment, deployed
from tests.support.serving import Idp
from tests.support.smtp import code_of, link_of, receiving

People = Callable[..., Person]


@pytest.mark.clause("A8.hashed")
def test_database_dump_signs_nobody_in(idp: Idp, people: People) -> None:
    """The database's files, while an attempt is open and after a whole journey, contain no link, code, cookie,
    authorization code, refresh token or access token. (They contain the address: mail has to go somewhere.)"""
    client = registered(idp)
    done = asks(idp, people("alice@example.com"), client)
    secrets = {"link": done.token.partition(".")[2], "code": done.code, "digits": done.code.replace(" ", "")}
    done.person.submit(done.person.form("code"), code=done.code)
    done.person.allow()
    secrets["authorization code"] = answer_of(done.person.answer())["code"]
    tokens = client.redeem(secrets["authorization code"]).json()
    secrets |= {"refresh token": tokens["refresh_token"], "access token": tokens["access_token"]}
    secrets["second refresh token"] = client.refresh(tokens["refresh_token"]).json()["refresh_token"]
    open_one = asks(idp, people("bob@example.com"))
    secrets |= {"open link": open_one.token.partition(".")[2], "open code": open_one.code.replace(" ", "")}
    for person in (done.person, open_one.person):
        for name, value in person.browser.cookies.items():
            secrets[f"{name} of {person.email}"] = value
            secrets[f"{name} of {person.email}, signature"] = value.rpartition(".")[2]
            secrets[f"{name} of {person.email}, payload"] = value.partition(".")[0]
    files = [path for path in idp.settings.sqlite_path.parent.glob("gatepost.db*") if path.is_file()]
    data = b"".join(path.read_bytes() for path in files)
    assert b"bob@example.com" in data, "the files are readable, and the newest rows are in them"
    for name, secret in secrets.items():
        assert len(secret) >= 8, name
        for kept in (secret, secret.removeprefix("gp_rt_").removeprefix("gp_ac_").removeprefix("gp_se_")):
            assert kept.encode() not in data, name
            assert kept.encode("utf-16-le") not in data, name


def _until_refused(person: Person) -> None:
    """Returns once the mail server has refused."""
    assert person.page is not None
    deadline = time.monotonic() + 10
    while person.browser.get(f"{person.page.url}/state").json()["mail"] != "failed":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _sign_in(person: Person, authorize_url: str) -> dict[str, str]:
    """A sign-in with every mishap: a refused mail, a wrong code, the link in another browser, a foreign form."""
    refused = "marker.refused@example.com"
    person.open(authorize_url.replace("S256", "plain"))
    person.open(authorize_url)
    person.postbox.refusal = f"550 5.1.1 <{refused}> no such user {refused}"
    person.submit(person.form("email"), email=refused)
    _until_refused(person)
    person.submit(person.form_to("/change"))
    person.postbox.refusal = None
    person.ask_for_mail()
    mail = person.postbox.wait(person.email)
    person.submit(person.form("code"), code="0000 0000")
    with Person(person.email, person.postbox) as phone:
        phone.open(link_of(mail))
        phone.open(f"{link_of(mail)}x")
    person.open(link_of(mail))
    person.submit(person.form("token"), csrf="not-ours")
    person.open(link_of(mail))
    person.submit(person.form("token"))
    person.allow()
    return {
        "whole refused address": refused,
        "link token": parse_qs(urlsplit(link_of(mail)).query)["t"][0].partition(".")[2],
        "mailed code": code_of(mail),
        "mailed digits": code_of(mail).replace(" ", ""),
        "authorization code": answer_of(person.answer())["code"],
        **{f"cookie {name}": value for name, value in person.browser.cookies.items()},
    }


def _use(deployment: Deployment, client_id: str, code: str, verifier: str) -> dict[str, str]:
    """Uses code and tokens rightly and wrongly at each endpoint."""

    def post(path: str, **form: str) -> httpx2.Response:
        return httpx2.post(f"{deployment.issuer}{path}", data={"client_id": client_id, **form}, trust_env=False)

    redeem = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK}
    post("/token", **redeem, code_verifier="w" * 64)
    tokens = post("/token", **redeem, code_verifier=verifier).json()
    post(f"/token?refresh_token={tokens['refresh_token']}", grant_type="x")
    second = post("/token", grant_type="refresh_token", refresh_token=tokens["refresh_token"]).json()["refresh_token"]
    listing = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    for bearer, refused in ((tokens["access_token"], False), (f"{tokens['access_token']}x", True)):
        headers = {"authorization": f"Bearer {bearer}", "accept": "application/json, text/event-stream"}
        answer = httpx2.post(deployment.mcp, json=listing, headers=headers, trust_env=False)
        assert (answer.status_code == 401) is refused
    post("/revoke", token=second)
    httpx2.get(f"{deployment.issuer}/nothing?code={code}", trust_env=False)
    return {
        "access token": tokens["access_token"],
        "signature of the access token": tokens["access_token"].rpartition(".")[2],
        "refresh token": tokens["refresh_token"],
        "second refresh token": second,
    }


@pytest.mark.clause("A9.not-logged", "R3.not-logged")
def test_log_hygiene(tmp_path: Path) -> None:
    """With both servers at LOG_LEVEL=debug, the logs of a journey with every mishap contain no link, code, cookie,
    token or whole address, and still say enough to follow it."""
    with (
        receiving() as postbox,
        deployed(tmp_path, postbox.port, LOG_LEVEL="debug") as deployment,
        Person("marker.person@example.com", postbox) as person,
    ):
        verifier = "verifier-as-a-marker" * 3
        metadata = {"client_name": "Marker app", "redirect_uris": [CALLBACK]}
        client = httpx2.post(f"{deployment.issuer}/register", json=metadata, trust_env=False).json()["client_id"]
        asked = {
            "response_type": "code",
            "client_id": client,
            "redirect_uri": CALLBACK,
            "code_challenge": challenge_of(verifier),
            "code_challenge_method": "S256",
            "state": "state-as-a-marker",
            "resource": deployment.mcp,
        }
        secrets = {"verifier": verifier, "state": "state-as-a-marker", "whole address": person.email}
        secrets |= _sign_in(person, f"{deployment.issuer}/authorize?{urlencode(asked)}")
        secrets |= _use(deployment, client, secrets["authorization code"], verifier)
        written = {"idp": deployment.idp.logged(), "resource": deployment.resource.logged()}
    assert len(re.findall("mail_sent", written["idp"])) >= 1
    assert "mail_not_sent" in written["idp"]
    assert "page_refused" in written["idp"]
    assert "tools/list" not in written["idp"]
    for server, log in written.items():
        assert "Traceback" not in log
        for name, secret in secrets.items():
            for kept in {secret, secret.removeprefix("gp_rt_").removeprefix("gp_ac_").removeprefix("gp_se_")}:
                assert kept not in log, f"{name} in the log of {server}"
