"""C, A10: what the person is asked, when nothing is asked, and what a consent covers."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from tests.idp.oauth.wire import (
    Server,
    asks_everything,
    asks_one_tap,
    page_of,
    rows,
    running,
    scope_of,
    tokens_of,
    went_silently,
)
from tests.support.oauth import TestClient, answer_of, registered
from tests.support.person import Form, Person

People = Callable[[str], Person]
Newcomer = Callable[[], Person]
LOOPBACK = "http://127.0.0.1:4000/callback"
PRIVATE = "cursor://anysphere.cursor-mcp/oauth/callback"
DAY = 86_400


def agreed(server: Server, person: Person, **metadata: Any) -> TestClient:
    """A client that the person consented to, remembered, at their first visit."""
    client = registered(server, **metadata)
    client.connect(person)
    return client


def consent_page(person: Person, client: TestClient, **changes: str | None) -> None:
    """Opens the consent page, after signing in if needed."""
    person.open(client.authorize_url(**changes))
    if any("email" in form.names() for form in person.forms()):
        mails = len(person.postbox.to(person.email))
        person.ask_for_mail()
        person.sign_in_by_code(mails + 1)


# --- Silence --------------------------------------------------------------------------------------------------------


@pytest.mark.clause("C1", "A6.code")
def test_a_remembered_consent_answers_in_silence(server: Server, newcomer: Newcomer) -> None:
    """With https, a named resource and the same client id: a 302 with the code, no page, no form."""
    person = newcomer()
    client = agreed(server, person)
    person.open(client.authorize_url())
    found = went_silently(person, client)
    assert found["state"] == "state of the client"
    assert found["iss"] == server.issuer
    assert scope_of(tokens_of(client.redeem(found["code"]))) == {"demo:read", "demo:echo"}


@pytest.mark.clause("C1")
def test_silence_asks_nobody_but_stores_no_waiting_request(server: Server, newcomer: Newcomer) -> None:
    """No stored request remains that somebody could come back to."""
    person = newcomer()
    client = agreed(server, person)
    before = rows(server, "SELECT count(*) FROM authorization_request")
    person.open(client.authorize_url())
    went_silently(person, client)
    assert rows(server, "SELECT count(*) FROM authorization_request") == before


@pytest.mark.clause("C1")
@pytest.mark.parametrize("scope", ["demo:read", "demo:echo", "demo:echo demo:read", "demo:read unknown"])
def test_less_than_was_agreed_to_is_answered_in_silence(server: Server, newcomer: Newcomer, scope: str) -> None:
    """And the token has exactly the scopes asked for."""
    person = newcomer()
    client = agreed(server, person)
    person.open(client.authorize_url(scope=scope))
    tokens = tokens_of(client.redeem(went_silently(person, client)["code"]))
    assert scope_of(tokens) == {name for name in scope.split() if name != "unknown"}


@pytest.mark.clause("C1", "A1.client-authentication")
def test_a_client_with_a_secret_is_answered_in_silence(server: Server, newcomer: Newcomer) -> None:
    """Its id may be known, but nobody else redeems the code."""
    person = newcomer()
    client = agreed(server, person, token_endpoint_auth_method="client_secret_basic")
    person.open(client.authorize_url())
    assert "code" in went_silently(person, client)


@pytest.mark.clause("C1", "C6")
def test_what_was_agreed_to_is_silent_and_what_was_unticked_is_asked_as_it_was_left(
    server: Server, newcomer: Newcomer
) -> None:
    """The remembered consent is exactly the one given. A client that asks for more, as step-up does, gets the page,
    with the boxes as the person left them."""
    person = newcomer()
    client = registered(server)
    consent_page(person, client)
    person.allow(scope=["demo:read"])
    person.open(client.authorize_url(scope="demo:read"))
    assert scope_of(tokens_of(client.redeem(went_silently(person, client)["code"]))) == {"demo:read"}
    person.open(client.authorize_url())
    assert [value for name, value in person.form("remember").fields if name == "scope"] == ["demo:read"]


# --- One tap --------------------------------------------------------------------------------------------------------


@pytest.mark.clause("C2", "C1")
def test_another_registration_of_the_same_kind_is_one_tap(server: Server, newcomer: Newcomer) -> None:
    """A malicious server may register as the same kind and forward its victim's challenge, so the person has to look.

    After the tap this registration is silent too, and the first one still is.
    """
    person = newcomer()
    first = agreed(server, person)
    second = registered(server)
    person.open(second.authorize_url())
    assert asks_one_tap(person)
    assert "client.test" in person.text
    person.allow()
    assert "code" in answer_of(person.answer())
    for client in (first, second):
        person.open(client.authorize_url())
        assert "code" in went_silently(person, client)


@pytest.mark.clause("C2")
@pytest.mark.parametrize("uri", [LOOPBACK, "http://localhost:1/cb", "http://[::1]:1/cb", PRIVATE, "com.example:/cb"])
def test_loopback_and_private_schemes_are_one_tap_every_time(server: Server, newcomer: Newcomer, uri: str) -> None:
    """Nobody can prove who listens there (RFC 8252 section 8.6)."""
    person = newcomer()
    client = agreed(server, person, redirect_uris=[uri])
    for _ in range(2):
        person.open(client.authorize_url())
        assert asks_one_tap(person)
        person.allow()


@pytest.mark.clause("C2")
def test_an_https_address_on_this_computer_is_one_tap(server: Server, newcomer: Newcomer) -> None:
    """https://localhost proves no more than http does."""
    person = newcomer()
    client = agreed(server, person, redirect_uris=["https://localhost:8443/cb"])
    person.open(client.authorize_url())
    assert asks_one_tap(person)


@pytest.mark.clause("C2", "A7.default")
def test_without_a_resource_it_is_one_tap(server: Server, newcomer: Newcomer) -> None:
    """The resource is then only the default, so a page names it."""
    person = newcomer()
    client = agreed(server, person)
    person.open(client.authorize_url(resource=None))
    assert asks_one_tap(person)
    assert "Example tools" in person.text


@pytest.mark.clause("C2", "A12.prompt")
def test_prompt_select_account_is_one_tap(server: Server, newcomer: Newcomer) -> None:
    """The page shows which account."""
    person = newcomer()
    client = agreed(server, person)
    person.open(client.authorize_url(prompt="select_account"))
    assert asks_one_tap(person)
    assert person.email in person.text


@pytest.mark.clause("C2", "C6")
def test_what_was_agreed_to_can_be_looked_over_instead_of_tapped(server: Server, newcomer: Newcomer) -> None:
    """The short page links to the whole one, and what is ticked there counts."""
    person = newcomer()
    agreed(server, person)
    second = registered(server)
    person.open(second.authorize_url())
    assert asks_one_tap(person)
    assert person.page is not None
    person.open(f"{person.page.url}?review=yes")
    assert asks_everything(person)
    person.allow(scope=["demo:read"])
    assert scope_of(tokens_of(second.redeem(answer_of(person.answer())["code"]))) == {"demo:read"}


@pytest.mark.clause("C2", "C5")
def test_a_tap_in_a_second_tab_gives_a_code_too(server: Server, newcomer: Newcomer) -> None:
    """After the first tap it would have been silent, so the second tap counts too."""
    person = newcomer()
    agreed(server, person)
    second = registered(server)
    person.open(second.authorize_url())
    first_tab = person.page
    person.open(second.authorize_url())
    person.allow()
    assert "code" in answer_of(person.answer())
    person.page = first_tab
    assert asks_one_tap(person)
    person.allow()
    assert "code" in answer_of(person.answer())


@pytest.mark.clause("C2", "C7")
def test_one_tap_can_be_declined(server: Server, newcomer: Newcomer) -> None:
    """access_denied; the earlier consent stays."""
    person = newcomer()
    first = agreed(server, person)
    second = registered(server)
    person.open(second.authorize_url())
    person.submit(person.form("decision"), decision="deny")
    assert answer_of(person.answer())["error"] == "access_denied"
    person.open(second.authorize_url())
    assert asks_one_tap(person)
    person.open(first.authorize_url())
    assert "code" in went_silently(person, first)


@pytest.mark.clause("C2", "C3")
def test_one_tap_renews_nothing(idp: Server, people: People) -> None:
    """The consent's end date does not move, however often somebody taps."""
    alice = people("alice@example.com")
    client = agreed(idp, alice, redirect_uris=[LOOPBACK])
    for _ in range(6):
        idp.clock.forward(days=4)
        alice.open(client.authorize_url())
        assert asks_one_tap(alice)
        alice.allow()
    idp.clock.forward(days=6, minutes=1)
    consent_page(alice, client)  # the session is over by then too
    assert asks_everything(alice)


# --- The whole page -------------------------------------------------------------------------------------------------


@pytest.mark.clause("C3", "A10")
def test_a_first_visit_sees_the_whole_page(server: Server, newcomer: Newcomer) -> None:
    """It shows who asks, for which account, for what, and until when it is remembered."""
    person = newcomer()
    consent_page(person, registered(server))
    assert asks_everything(person)
    for shown in (person.email, "Read the clock and the help", "Repeat a text you give it", "Example tools"):
        assert shown in person.text
    until = server.clock() + timedelta(days=30)
    assert f"until {until.day} {until:%B %Y}" in person.text
    assert person.form("remember").names() >= {"scope", "remember", "csrf"}


@pytest.mark.clause("C3")
@pytest.mark.parametrize("scope", ["demo:read demo:echo demo:ops", "demo:read demo:echo openid", "demo:ops"])
def test_more_scope_than_was_agreed_to_is_asked_for(server: Server, newcomer: Newcomer, scope: str) -> None:
    """One more name is enough."""
    person = newcomer()
    client = agreed(server, person)
    person.open(client.authorize_url(scope=scope))
    assert asks_everything(person)


@pytest.mark.clause("C3")
@pytest.mark.parametrize(
    "metadata",
    [
        {"client_name": "Another name"},
        {"redirect_uris": ["https://client.test/callback", "https://client.test/other"]},
        {"token_endpoint_auth_method": "client_secret_post"},
        {"client_uri": "https://client.test"},
        {"grant_types": ["authorization_code"]},
    ],
)
def test_another_kind_of_client_is_asked_about(server: Server, newcomer: Newcomer, metadata: dict[str, Any]) -> None:
    """Any difference in metadata makes it another kind."""
    person = newcomer()
    agreed(server, person)
    client = registered(server, **metadata)
    person.open(client.authorize_url())
    assert asks_everything(person)


@pytest.mark.clause("C3")
def test_another_host_of_the_same_client_is_asked_about(server: Server, newcomer: Newcomer) -> None:
    """The consent was for one host."""
    person = newcomer()
    uris = ["https://client.test/callback", "https://other.test/callback"]
    client = agreed(server, person, redirect_uris=uris)
    client.redirect_uri = uris[1]
    person.open(client.authorize_url())
    assert asks_everything(person)
    assert "other.test" in person.text


@pytest.mark.clause("C3")
def test_another_person_is_asked(server: Server, newcomer: Newcomer) -> None:
    """A consent belongs to one person, even in the same browser."""
    first, second = newcomer(), newcomer()
    client = agreed(server, first)
    consent_page(second, client)
    assert asks_everything(second)
    first.open(client.authorize_url(prompt="consent"))
    first.submit(first.form_to("/switch"))
    first.email = second.email
    first.ask_for_mail()
    first.sign_in_by_code(2)
    assert asks_everything(first)
    assert second.email in first.text


@pytest.mark.clause("C3", "A12.prompt")
def test_prompt_consent_asks_again_and_the_new_answer_counts(server: Server, newcomer: Newcomer) -> None:
    """It shows what was ticked last time; what is ticked now holds from then on."""
    person = newcomer()
    client = registered(server)
    consent_page(person, client)
    person.allow(scope=["demo:echo"])
    person.open(client.authorize_url(prompt="consent"))
    assert [value for name, value in person.form("remember").fields if name == "scope"] == ["demo:echo"]
    person.allow(scope=["demo:read"])
    person.open(client.authorize_url(scope="demo:read"))
    assert scope_of(tokens_of(client.redeem(went_silently(person, client)["code"]))) == {"demo:read"}


@pytest.mark.clause("C3", "C6")
def test_an_answer_in_a_second_tab_counts_too(server: Server, newcomer: Newcomer) -> None:
    """Even though the first tab's consent is remembered by then: each code has what was ticked in its own tab."""
    person = newcomer()
    client = registered(server)
    consent_page(person, client)
    first_tab = person.page
    person.open(client.authorize_url())
    person.allow()
    assert "code" in answer_of(person.answer())
    person.page = first_tab
    person.allow(scope=["demo:read"])
    assert scope_of(tokens_of(client.redeem(answer_of(person.answer())["code"]))) == {"demo:read"}


@pytest.mark.clause("C3")
@pytest.mark.parametrize(("days", "silent"), [(29, True), (31, False)])
def test_a_consent_is_remembered_for_thirty_days(idp: Server, people: People, days: int, silent: bool) -> None:
    """Visits in between keep the person signed in, and renew nothing."""
    alice = people("alice@example.com")
    client = agreed(idp, alice)
    other = registered(idp, client_name="Other")
    for _ in range(days):
        idp.clock.forward(days=1)
        alice.open(other.authorize_url())
    if silent:
        alice.open(client.authorize_url())
        assert "code" in went_silently(alice, client)
        return
    consent_page(alice, client)  # the session is over by then too
    assert asks_everything(alice)


@pytest.mark.clause("C4", "C3")
def test_a_consent_that_is_not_to_be_remembered_is_asked_for_again(server: Server, newcomer: Newcomer) -> None:
    """With "remember" unticked the consent holds once."""
    person = newcomer()
    client = registered(server)
    consent_page(person, client)
    person.allow(remember="0")
    assert "code" in answer_of(person.answer())
    person.open(client.authorize_url())
    assert asks_everything(person)


@pytest.mark.clause("C4")
def test_unticking_remember_forgets_what_was_remembered(server: Server, newcomer: Newcomer) -> None:
    """A later answer replaces the earlier one."""
    person = newcomer()
    client = agreed(server, person)
    person.open(client.authorize_url(prompt="consent"))
    person.allow(remember="0")
    person.open(client.authorize_url())
    assert asks_everything(person)


@pytest.mark.clause("C4")
@pytest.mark.parametrize(
    ("chosen", "days"), [("0", 0), ("1", 1), ("30", 30), ("7", 0), ("3650", 0), ("-1", 0), ("٣٠", 0), (None, 0)]
)
def test_a_person_chooses_how_long_it_is_remembered(idp: Server, chosen: str | None, days: int) -> None:
    """This time only, a day, or 30 days; a value that the page did not offer counts as this time only."""
    client = registered(idp)
    with Person("alice@example.com", idp.postbox) as alice:
        consent_page(alice, client)
        alice.allow(remember=chosen)
        expires = rows(idp, "SELECT (expires_at - granted_at) / 86400000 FROM consent")
    assert expires == ([(days,)] if days else [])


@pytest.mark.clause("C4")
def test_the_page_shows_the_dates(idp: Server) -> None:
    """Each choice has its date, the longest is preselected, and none goes beyond CONSENT_DAYS."""
    with Person("alice@example.com", idp.postbox) as alice:
        consent_page(alice, registered(idp))
        now = idp.clock()
        for days in (1, 30):
            until = now + timedelta(days=days)
            assert f"until {until.day} {until:%B %Y}" in alice.text
        assert "This time only" in alice.text
        assert dict(alice.form("remember").fields)["remember"] == "30"


@pytest.mark.clause("C4")
def test_with_no_days_to_remember_nothing_is(tmp_path_factory: pytest.TempPathFactory) -> None:
    """CONSENT_DAYS=0 asks every time."""
    with running(tmp_path_factory.mktemp("forgetful"), consent_days=0) as idp:
        client = registered(idp)
        with Person("alice@example.com", idp.postbox) as alice:
            client.connect(alice)
            alice.open(client.authorize_url())
            assert asks_everything(alice)


# --- Who asks -------------------------------------------------------------------------------------------------------


@pytest.mark.clause("A10.host", "A10.unverified")
def test_the_page_shows_the_host_and_takes_the_name_for_what_it_is(server: Server, newcomer: Newcomer) -> None:
    """The host is where the answer goes; the name is only the client's claim."""
    person = newcomer()
    uri = "https://evil.test:8443/https://claude.ai/callback"
    consent_page(person, registered(server, client_name="Claude", redirect_uris=[uri]))
    assert "evil.test:8443" in person.text
    assert "Let <bdi" in person.text
    assert "not verified" in person.text
    assert "leads to a program on this computer" not in person.text


@pytest.mark.clause("A10.loopback", "A10.host")
@pytest.mark.parametrize("uri", [LOOPBACK, "http://localhost:1/cb", "http://[::1]:1/cb", PRIVATE])
def test_the_page_warns_where_nobody_can_prove_who_listens(server: Server, newcomer: Newcomer, uri: str) -> None:
    """On the whole page and on the short one."""
    person = newcomer()
    client = registered(server, redirect_uris=[uri])
    consent_page(person, client)
    assert asks_everything(person)
    assert "leads to a program on this computer" in person.text
    person.allow()
    person.open(client.authorize_url())
    assert asks_one_tap(person)
    assert "leads to a program on this computer" in person.text


# --- How far a yes goes ---------------------------------------------------------------------------------------------


@pytest.mark.clause("C6", "A9.scope")
@pytest.mark.parametrize("left", [["demo:read"], ["demo:echo"], []])
def test_an_unticked_scope_is_not_in_the_token(server: Server, newcomer: Newcomer, left: list[str]) -> None:
    """Nor after a refresh; with every box unticked a token is still issued, with an empty scope."""
    person = newcomer()
    client = registered(server)
    consent_page(person, client)
    person.allow(scope=left or None)
    tokens = tokens_of(client.redeem(answer_of(person.answer())["code"]))
    assert scope_of(tokens) == set(left)
    assert scope_of(tokens_of(client.refresh(tokens["refresh_token"], scope="demo:read demo:echo"))) == set(left)


@pytest.mark.clause("C6")
@pytest.mark.parametrize("tampered", ["demo:ops", "openid", "offline_access", "unknown", "demo:read demo:ops", "*", ""])
def test_a_scope_that_was_not_asked_for_cannot_be_slipped_in(server: Server, newcomer: Newcomer, tampered: str) -> None:
    """Whatever the form says, the scopes of the request are the limit."""
    person = newcomer()
    client = registered(server)
    consent_page(person, client, scope="demo:read")
    person.allow(scope=["demo:read", tampered])
    assert scope_of(tokens_of(client.redeem(answer_of(person.answer())["code"]))) == {"demo:read"}


@pytest.mark.clause("C7", "A6.error", "A13.state")
def test_a_no_is_told_to_the_client(server: Server, newcomer: Newcomer) -> None:
    """access_denied with state and iss; nothing is remembered, and the request is finished."""
    person = newcomer()
    client = registered(server)
    consent_page(person, client, state="a b&c=d")
    address = person.page.url if person.page else ""
    person.submit(person.form("decision"), decision="deny")
    found = answer_of(person.answer())
    assert (found["error"], found["state"], found["iss"]) == ("access_denied", "a b&c=d", server.issuer)
    assert found["error_description"] == "The person did not agree."
    assert "code" not in found
    person.open(str(address))
    assert "This is finished" in person.text
    assert person.page is not None
    assert person.page.url == address, "it leads to no sign-in"
    person.open(client.authorize_url())
    assert asks_everything(person)


@pytest.mark.clause("C7", "C6")
@pytest.mark.parametrize("decision", ["", "maybe", "Allow", "allow "])
def test_anything_but_allow_is_a_no(server: Server, newcomer: Newcomer, decision: str) -> None:
    """So does a form without a button."""
    person = newcomer()
    client = registered(server)
    consent_page(person, client)
    person.submit(person.form("decision"), decision=decision)
    assert answer_of(person.answer())["error"] == "access_denied"


@pytest.mark.clause("C7")
def test_a_no_before_the_sign_in_is_told_to_the_client(server: Server, newcomer: Newcomer) -> None:
    """The email page has a button to decline."""
    person = newcomer()
    client = registered(server)
    person.open(client.authorize_url())
    person.submit(person.form_to("/deny"))
    assert answer_of(person.answer())["error"] == "access_denied"


@pytest.mark.clause("C7", "C5")
def test_use_another_address_ends_the_session_itself(server: Server, newcomer: Newcomer) -> None:
    """Not only the cookie is removed: a copy of it is worth nothing."""
    person = newcomer()
    client = registered(server)
    consent_page(person, client)
    kept = dict(person.browser.cookies)
    person.submit(person.form_to("/switch"))
    for name, value in kept.items():
        person.browser.cookies.set(name, value, domain="localhost.local")
    person.open(client.authorize_url())
    assert "email" in person.form("email").names()


@pytest.mark.clause("A1.person", "C5")
def test_nobody_agrees_before_they_signed_in(newcomer: Newcomer, client: TestClient) -> None:
    """The consent page leads to the sign-in, and so does its form, posted directly with a valid token."""
    person = newcomer()
    person.open(client.authorize_url())
    request_id = str(person.page.url).rpartition("/")[2] if person.page else ""
    (csrf,) = [value for name, value in person.form("email").fields if name == "csrf"]
    person.open(f"{client.idp.issuer}/consent/{request_id}")
    assert "email" in {name for form in person.forms() for name in form.names()}
    for ending in ("", "/again"):
        form = Form(f"{client.idp.issuer}/consent/{request_id}{ending}", [("csrf", csrf)])
        person.submit(form, decision="allow", scope="demo:read", remember="30")
        assert "email" in {name for form in person.forms() for name in form.names()}
        assert "code=" not in person.text


@pytest.mark.clause("C5")
@pytest.mark.parametrize("second", ["allow", "deny"])
def test_a_double_submit_gives_one_code(server: Server, newcomer: Newcomer, second: str) -> None:
    """The second press is told that it is finished, and changes nothing."""
    person = newcomer()
    client = registered(server)
    consent_page(person, client)
    form = person.form("decision")
    codes = rows(server, "SELECT count(*) FROM authorization_code")[0][0]
    page = person.page
    person.submit(form, decision="allow")
    code = answer_of(person.answer())["code"]
    person.page = page
    answer = person.submit(form, decision=second, scope=["demo:read"])
    assert "This is finished" in person.text
    assert "/consent/" in str(answer.url), "it leads to no sign-in"
    assert "code=" not in person.text
    assert rows(server, "SELECT count(*) FROM authorization_code")[0][0] == codes + 1
    assert scope_of(tokens_of(client.redeem(code))) == {"demo:read", "demo:echo"}


@pytest.mark.clause("C5")
def test_a_request_is_for_the_browser_that_made_it(server: Server, newcomer: Newcomer) -> None:
    """Its URL in another browser, signed in or not, shows nothing of it and accepts no answer."""
    person, other = newcomer(), newcomer()
    client = registered(server)
    registered(server, client_name="Other").connect(other)
    consent_page(person, client)
    assert person.page is not None
    address, form = person.page.url, person.form("decision")
    other.open(str(address))
    assert other.page is not None
    assert "client.test" not in page_of(other.page)
    other.page = person.page
    other.submit(form, decision="allow")
    assert other.page.status_code == 403
    assert "code=" not in other.text


@pytest.mark.clause("C5")
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.test"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://localhost"},
    ],
    ids=str,
)
def test_a_consent_form_from_elsewhere_is_refused(server: Server, newcomer: Newcomer, headers: dict[str, str]) -> None:
    """403, and the request can still be answered by its person."""
    person = newcomer()
    client = registered(server)
    consent_page(person, client)
    assert person.page is not None
    form, address = person.form("decision"), str(person.page.url)
    data = {**dict(form.fields), "decision": "allow"}
    answer: httpx2.Response = person.browser.post(address, data=data, headers=headers)
    assert answer.status_code == 403
    person.open(address)
    assert asks_everything(person)


@pytest.mark.clause("C5")
@pytest.mark.parametrize("csrf", [None, "", "x", "OTHER"])
def test_a_consent_form_without_its_token_is_refused(server: Server, newcomer: Newcomer, csrf: str | None) -> None:
    """Whether the token is missing, wrong, or another browser's."""
    person, other = newcomer(), newcomer()
    client = registered(server)
    consent_page(person, client)
    if csrf == "OTHER":
        consent_page(other, client)
        csrf = dict(other.form("decision").fields)["csrf"]
    person.submit(person.form("decision"), decision="allow", csrf=csrf)
    assert person.page is not None
    assert person.page.status_code == 403


@pytest.mark.clause("C5")
def test_a_request_is_over_after_half_an_hour(idp: Server, people: People) -> None:
    """Pressing the button then gives no code."""
    alice = people("alice@example.com")
    client = registered(idp)
    consent_page(alice, client)
    form, page = alice.form("decision"), alice.page
    idp.clock.forward(minutes=31)
    alice.page = page
    alice.submit(form, decision="allow")
    assert alice.page is not None
    assert alice.page.status_code in (400, 410)
    assert "code=" not in alice.text


@pytest.mark.clause("C5")
@pytest.mark.parametrize(
    "path", ["/consent/x", "/consent/x?review=yes", "/consent/%00", "/consent/%ff", "/consent/" + "a" * 4000]
)
def test_a_consent_page_that_never_was_shows_nothing(server: Server, path: str) -> None:
    """4xx, whatever the URL contains."""
    assert 400 <= server.get(path).status_code < 500


@pytest.mark.clause("C2", "C5")
def test_one_tap_cannot_be_pressed_where_everything_is_asked(server: Server, newcomer: Newcomer) -> None:
    """The short page's form, posted for a request without an earlier consent, gets the whole page."""
    person = newcomer()
    client = registered(server)
    consent_page(person, client)
    assert person.page is not None
    form = person.form("decision")
    form.action = f"{person.page.url.path}/again"
    person.submit(form, decision="allow")
    assert asks_everything(person)
    assert rows(server, "SELECT count(*) FROM authorization_code WHERE client_id = :id", id=client.id) == [(0,)]
