"""Connecting again: who is asked again, who confirms with one tap, and who is not asked at all."""

import httpx2
import pytest

from tests.journeys.connecting import HTTPS, LOOPBACK, MODES, Mode, Tracked, connection
from tests.support.mcp_client import Storage
from tests.support.processes import Deployment
from tests.support.smtp import Postbox


def _again(storage: Storage) -> Storage:
    """The storage of a client that lost its tokens and kept its registration."""
    kept = Storage()
    kept.client = storage.client
    return kept


@pytest.mark.parametrize("mode", MODES)
async def test_a_client_on_the_web_reconnects_in_silence(deployment: Deployment, postbox: Postbox, mode: Mode) -> None:
    """With its earlier registration it takes only a redirect: 302 with the code from /authorize, no form, no mail."""
    first = Storage()
    with Tracked(f"silent-{mode}@example.com", postbox) as person:
        async with connection(deployment.mcp, person, first, mode, HTTPS):
            assert len(person.submitted) == 3, "address, code, consent"
        async with connection(deployment.mcp, person, _again(first), mode, HTTPS) as connected:
            assert "whoami" in await connected.tools()
            assert ("/register", 201) not in connected.answers
        assert person.submitted == []
        assert len(postbox.to(person.email)) == 1
        assert person.page is not None
        assert person.page.status_code == 302
        assert person.page.request.url.path == "/authorize"
        assert person.page.headers["location"].startswith(f"{HTTPS}?code=")


async def test_a_new_registration_of_a_known_client_is_one_tap(deployment: Deployment, postbox: Postbox) -> None:
    """Hosted clients register again at each connect; a person who consented before presses one button."""
    with Tracked("anew@example.com", postbox) as person:
        async with connection(deployment.mcp, person, Storage(), "auto", HTTPS):
            pass
        async with connection(deployment.mcp, person, Storage(), "auto", HTTPS) as connected:
            assert ("/register", 201) in connected.answers
        assert [action.rpartition("/")[2] for action in person.submitted] == ["again"]


@pytest.mark.clause("A10")
@pytest.mark.parametrize("mode", MODES)
async def test_a_client_on_this_computer_reconnects_with_one_tap(
    deployment: Deployment, postbox: Postbox, mode: Mode
) -> None:
    """Nobody can prove who listens on loopback (RFC 8252 section 8.6): one button, no mail, no boxes."""
    first = Storage()
    with Tracked(f"tap-{mode}@example.com", postbox) as person:
        async with connection(deployment.mcp, person, first, mode, LOOPBACK):
            pass
        async with connection(deployment.mcp, person, _again(first), mode, LOOPBACK) as connected:
            assert "whoami" in await connected.tools()
        assert len(person.submitted) == 1
        assert person.submitted[0].endswith("/again")
        assert len(postbox.to(person.email)) == 1


async def test_what_nobody_remembers_is_asked_again(deployment: Deployment, postbox: Postbox) -> None:
    """Without "remember" the full consent page is shown again; the person stays signed in."""
    first = Storage()
    with Tracked("forget@example.com", postbox) as person:
        person.remembers = False
        async with connection(deployment.mcp, person, first, "auto", HTTPS):
            pass
        async with connection(deployment.mcp, person, _again(first), "auto", HTTPS):
            pass
        assert len(person.submitted) == 1
        assert not person.submitted[0].endswith("/again")
        assert len(postbox.to(person.email)) == 1


@pytest.mark.parametrize("mode", MODES)
async def test_signing_in_by_the_link_leads_to_the_same_place(
    deployment: Deployment, postbox: Postbox, mode: Mode
) -> None:
    """The mailed link, opened in the browser that asked and confirmed with its one button, instead of the code."""
    with Tracked(f"by-link-{mode}@example.com", postbox) as person:
        person.by_link = True
        async with connection(deployment.mcp, person, Storage(), mode) as connected:
            whoami = await connected.call("whoami")
            assert whoami.structured_content is not None
            assert whoami.structured_content["email"] == person.email
        assert person.submitted[1].endswith("/sign-in/link")


async def test_saying_no_reaches_the_client(deployment: Deployment, postbox: Postbox) -> None:
    """The client gets `access_denied` with `iss` and the state, and no token."""
    storage = Storage()
    with Tracked("no@example.com", postbox) as person:
        person.agrees = False
        with pytest.raises(BaseExceptionGroup):  # the SDK wraps the error that ended it
            async with connection(deployment.mcp, person, storage, "auto", HTTPS):
                pass
        answer = httpx2.URL(person.answer()).params
        assert answer["error"] == "access_denied"
        assert answer["iss"] == deployment.issuer
        assert "state" in answer
    assert storage.tokens is None
