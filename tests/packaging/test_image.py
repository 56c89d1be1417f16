"""The image, built from the Dockerfile and run with exactly what compose.yaml grants each service."""

from collections.abc import Iterator

import pytest

from tests.packaging.containers import Project, built, require
from tests.support.mcp_client import Storage, connected
from tests.support.person import Person
from tests.support.ports import free_port
from tests.support.smtp import Postbox


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, postbox: Postbox) -> Iterator[Project]:
    """The project with its secrets and its database made; SQLite and loopback are all that this machine has."""
    require()
    folder = tmp_path_factory.mktemp("image")
    built(folder)
    idp, resource = free_port(), free_port()
    settings = {
        "OAUTH_ISSUER": f"http://localhost:{idp}",
        "MCP_RESOURCE_URL": f"http://localhost:{resource}/mcp",
        "IDP_PORT": str(idp),
        "RESOURCE_PORT": str(resource),
        "DATABASE_URL": "sqlite:///var/gatepost.db",
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": str(postbox.port),
        "SMTP_SECURITY": "none",
        "MAIL_FROM": "gatepost@example.test",
        "METRICS_ADDRESS": "",
        "SIGNUP": "open",
        "SIGNUP_DOMAINS": "",
        "SERVICE_NAME": "",
        "SUPPORT_EMAIL": "",
        "LOG_FORMAT": "json",
    }
    made = Project(folder, settings)
    try:
        made.once("secrets")
        made.once("prepare")
        yield made
    finally:
        made.clear()


def test_it_runs_as_nobody(project: Project) -> None:
    """Not root, no capability, no new privileges by exec, and a read-only file system."""
    said = project.shell(
        "resource", "id -u; grep -E 'Cap(Eff|Bnd)|NoNewPrivs' /proc/self/status; touch /x 2>&1 || true"
    )
    assert said.split("\n")[0] == "10001"
    assert said.count("0000000000000000") == 2
    assert "NoNewPrivs:\t1" in said
    assert "Read-only" in said


def test_approvals_can_be_kept(project: Project) -> None:
    """The one place that the resource server may write to, and it is there again in its next container."""
    project.shell("resource", 'echo kept > "$TOOL_APPROVALS"')
    assert project.shell("resource", 'cat "$TOOL_APPROVALS"; rm "$TOOL_APPROVALS"') == "kept\n"


def test_the_one_shots_do_nothing_twice(project: Project) -> None:
    """Secrets stay as they are, and no second client is made."""
    before = _made(project)
    assert len(before) == 5
    assert all(before)
    project.once("secrets")
    project.once("prepare")
    assert _made(project) == before


def _made(project: Project) -> list[str]:
    """The secret key, the database's URL, both halves of the credentials, and the one client there is."""
    files = "keys/secret_key database/url introspection/client_id introspection/client_secret"
    return project.shell(
        "prepare", f"for file in {files}; do cat $file; echo; done; gatepost clients list --json | tr -d '\n'"
    ).splitlines()


async def test_a_client_connects_to_the_containers(project: Project, postbox: Postbox) -> None:
    """The whole journey, with both servers held in."""
    with project.running("idp"), project.running("resource"), Person("contained@example.com", postbox) as person:
        async with connected(project.settings["MCP_RESOURCE_URL"], person, Storage()) as client:
            whoami = await client.call_tool("whoami", {})
            assert person.email in str(whoami)
