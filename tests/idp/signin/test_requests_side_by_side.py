"""Several requests, tabs or visits: each is independent, and a finished one stays finished."""

from collections.abc import Callable

import pytest

from tests.idp.oauth.wire import beside
from tests.idp.signin.walk import asks, field_value, link_page, press, signed_in, types, words_of
from tests.support.oauth import CALLBACK, TestClient, answer_of, registered
from tests.support.person import Person
from tests.support.serving import Idp

People = Callable[..., Person]


def test_two_tabs(idp: Idp, people: People) -> None:
    """Two requests in one browser have separate references; each link finishes the one that it was mailed for."""
    person = people()
    clients = [
        registered(idp, client_name=name, redirect_uris=[f"https://{name}.example/cb"]) for name in ("one", "two")
    ]
    first, second = (asks(idp, person, client) for client in clients)
    assert first.reference != second.reference
    assert first.link != second.link
    assert first.code != second.code
    for pending, other in ((second, first), (first, second)):
        idp.clock.forward(seconds=6)
        page = link_page(pending, person)
        assert pending.client.redirect_uri.split("/")[2] in words_of(page)
        assert pending.reference in page
        link_page(pending, person)
        person.submit(person.form("token"))
        person.allow()
        assert person.answer().startswith(pending.client.redirect_uri)
        assert pending.client.redeem(answer_of(person.answer())["code"]).status_code == 200
        assert other.client.redirect_uri not in person.text


def test_two_tabs_of_one_client_each_get_their_own_answer(idp: Idp, people: People) -> None:
    """The same client connects twice at once (hosted Claude does): each state comes back once, with its own code.

    What was agreed in the one is remembered in the other.
    """
    person, client = people(), registered(idp)
    pendings = []
    for state in ("left", "right"):
        person.open(client.authorize_url(state=state))
        types(idp, person)
        assert person.page is not None
        pendings.append((state, str(person.page.url)))
    codes = set()
    for number, (state, url) in enumerate(pendings, 1):
        person.open(url)
        person.sign_in_by_code(number)
        if state == "left":
            person.allow()
        answer = answer_of(person.answer())
        assert answer["state"] == state
        codes.add(answer["code"])
    assert len(codes) == 2


def test_already_signed_in(idp: Idp, people: People) -> None:
    """The second connection in a signed-in browser goes straight to consent: no address, no mail."""
    person = people()
    asks(idp, person)
    person.sign_in_by_link()
    other = registered(idp, client_name="Other", redirect_uris=["https://other.example/cb"])
    person.open(other.authorize_url())
    assert "Let other.example use" in words_of(person.text)
    assert "as alice@example.com" in words_of(person.text)
    assert len(idp.postbox.mails) == 1
    person.allow()
    assert "code" in answer_of(person.answer())


def test_prompt_login_asks_again(idp: Idp, people: People) -> None:
    """``prompt=login`` asks for the address although somebody is signed in."""
    person = people()
    asks(idp, person)
    person.sign_in_by_link()
    person.open(registered(idp).authorize_url(prompt="login"))
    assert "email" in person.form("email").names()


def test_back_after_finish(idp: Idp, people: People) -> None:
    """Whatever page the back button shows after the end, it says that all is done; there is only one code."""
    pending = asks(idp, people())
    person = pending.person
    consent = f"{idp.issuer}{pending.url.removeprefix(idp.issuer).replace('/sign-in/', '/consent/').rpartition('/')[0]}"
    person.submit(person.form("code"), code=pending.code)
    form = person.form("decision")
    csrf = field_value(person.text, "csrf")
    person.allow()
    assert "code" in answer_of(person.answer())
    person.submit(form, decision="allow")
    assert "This is finished" in words_of(person.text)
    assert "data-target" not in person.text
    for url in (pending.url.rpartition("/")[0], pending.url, consent, f"{consent}?review=yes"):
        words = words_of(person.open(url).text)
        assert "This is finished" in words, url
        assert "client.test" in words
        assert "gp_ac_" not in person.text
    for door in (f"{consent}/again", f"{consent}", f"{pending.url.rpartition('/')[0]}/deny"):
        answer = press(person, door, {"csrf": csrf, "decision": "deny"})
        assert "This is finished" in words_of(answer.text), door
        assert "access_denied" not in answer.text
    mail = press(person, pending.url.rpartition("/")[0], {"csrf": csrf, "email": "alice@example.com"})
    assert mail.status_code == 303
    assert len(idp.postbox.mails) == 1


def test_the_finish_page_goes_back_with_state_and_issuer(idp: Idp, people: People) -> None:
    """The page carries the callback once for script and once for eyes; a link nobody needs to trust is not in it."""
    person = people()
    pending = asks(idp, person)
    person.submit(person.form("code"), code=pending.code)
    person.allow()
    answer = answer_of(person.answer())
    assert answer["iss"] == idp.issuer
    assert answer["state"] == "state of the client"
    assert person.page is not None
    assert person.page.status_code == 200, "a redirect after a form would be held by form-action"


def test_an_attempt_that_never_was_leads_back(idp: Idp, people: People) -> None:
    """A made-up or altered URL does nothing at any endpoint, and the request goes on."""
    pending = asks(idp, people())
    request, csrf = pending.url.rpartition("/")[0], field_value(pending.look(), "csrf")
    for door in ("resend", "change", "code"):
        assert press(pending.person, f"{request}/never/{door}", {"csrf": csrf, "code": "0"}).status_code == 303
    assert pending.person.browser.get(f"{request}/never").headers["location"] == request.removeprefix(idp.issuer)
    assert pending.person.browser.get(f"{request}/never/state").json()["state"] == "expired"
    assert pending.state()["state"] == "pending"


def test_a_request_whose_client_is_gone_is_over(idp: Idp, people: People) -> None:
    """Every endpoint answers with a page, without a 500."""
    pending = asks(idp, people())
    beside(idp, lambda tx: tx._cursor.execute("DELETE FROM client") and None)
    statuses = [pending.person.open(url).status_code for url in (pending.url, pending.link)]
    assert statuses == [400, 410]


def test_change_address(idp: Idp, people: People) -> None:
    """After a typo the attempt ends, the request stays, and the right address gets its own mail."""
    pending = asks(idp, people("alcie@example.com"))
    person = pending.person
    person.open(pending.url)
    person.submit(person.form_to("/change"))
    assert pending.state()["state"] == "cancelled"
    assert "email" in person.form("email").names()
    page = link_page(pending, people())
    assert "This sign-in is cancelled" in words_of(page)
    person.open(pending.url.rpartition("/")[0])
    person.email = "alice@example.com"
    types(idp, person)
    person.sign_in_by_code()
    person.allow()
    assert "code" in answer_of(person.answer())


@pytest.mark.clause("A6")
def test_cancel_on_the_address_page_goes_back_to_the_client(idp: Idp, people: People) -> None:
    """A person can decline before typing an address: the client gets ``access_denied``, with state and iss."""
    person, client = people(), registered(idp)
    person.open(client.authorize_url())
    person.submit(person.form_to("/deny"))
    answer = answer_of(person.answer())
    assert answer["error"] == "access_denied"
    assert (answer["state"], answer["iss"]) == ("state of the client", idp.issuer)
    assert "Cancelled" in words_of(person.text)


def test_change_after_sign_in_keeps_the_request(idp: Idp, people: People) -> None:
    """``Use another address`` on the consent page signs out and asks for an address within the same request."""
    pending = asks(idp, people())
    person = pending.person
    person.submit(person.form("code"), code=pending.code)
    person.submit(person.form_to("/switch"))
    assert not signed_in(person)
    person.email = "bob@example.com"
    types(idp, person)
    person.sign_in_by_code()
    assert "as bob@example.com" in words_of(person.text)
    person.allow()
    assert person.answer().startswith(CALLBACK)


@pytest.mark.clause("A10")
def test_every_page_of_a_sign_in_names_the_host_it_leads_to(idp: Idp, people: People) -> None:
    """Address page, waiting page, link page and consent name the exact host; the client's own name is only a claim."""
    client: TestClient = registered(idp, client_name="Claude", redirect_uris=["https://evil.example:8443/cb"])
    person = people()
    person.open(client.authorize_url())
    pages = [person.text]
    types(idp, person)
    pages.append(person.text)
    idp.postbox.wait(person.email)
    person.open(str(person.page.url) if person.page else "")
    idp.clock.forward(seconds=6)
    person.sign_in_by_link()
    pages.append(person.text)
    for page in pages:
        assert "evil.example:8443" in words_of(page)
    for page in (pages[0], pages[2]):
        assert "It calls itself “ Claude ”, not verified" in words_of(page)
