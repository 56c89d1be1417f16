"""A demo that cannot start: it says why in one line, and changes no running demo and no database."""

import sqlite3
import subprocess
from pathlib import Path

import httpx2
import pytest

from tests.packaging.demo import PORTS, checkout_command, demo, in_checkout
from tests.packaging.test_demo import taken

pytestmark = pytest.mark.usefixtures("ports")


def refused(folder: Path, **settings: str) -> str:
    """The one line of a demo that ends by itself."""
    done = subprocess.run(
        [*checkout_command(), "demo"],
        cwd=folder,
        env=in_checkout(**settings),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode != 0
    said = (done.stdout + done.stderr).strip()
    assert len(said.splitlines()) == 1, said
    return said


def credentials(folder: Path) -> list[tuple[bytes, ...]]:
    """What the database keeps of the demo's resource server."""
    with sqlite3.connect(folder / "var" / "gatepost.db") as database:
        return database.execute("SELECT * FROM client WHERE id LIKE 'gp_rs_demo%'").fetchall()


def test_a_second_demo_leaves_the_first_its_secret(tmp_path: Path) -> None:
    """It would be refused at /introspect until its restart: the second ends before it opens the database."""
    with demo(checkout_command(), tmp_path):
        before = credentials(tmp_path)
        assert before
        assert "9025" in refused(tmp_path)
        # A mail server of one's own, and another port for one server: the last of the ports counts as well.
        elsewhere = {"SMTP_HOST": "127.0.0.1", "SMTP_SECURITY": "none", "MAIL_FROM": "a@example.com"}
        assert refused(tmp_path, **elsewhere).startswith("IDP_PORT")
        assert refused(tmp_path, IDP_PORT="9700", **elsewhere).startswith("RESOURCE_PORT")
        assert credentials(tmp_path) == before


def test_on_other_ports_it_prints_where_it_answers(tmp_path: Path) -> None:
    """What it says when port 9000 is taken can be followed: the public URLs go with the ports."""
    with taken(9000):
        assert refused(tmp_path).startswith("IDP_PORT: ")
        with demo(checkout_command(), tmp_path, IDP_PORT="9700", RESOURCE_PORT="9701") as running:
            said = running.said()
            assert "http://localhost:9701/mcp" in said
            assert "http://localhost:9700" in said
            assert ":9000" not in said
            metadata = httpx2.get("http://localhost:9701/.well-known/oauth-protected-resource/mcp", trust_env=False)
            assert metadata.json()["authorization_servers"] == ["http://localhost:9700"]
            assert httpx2.get("http://localhost:9701/readyz", trust_env=False).status_code == 200


@pytest.mark.parametrize("server", ["IDP", "RESOURCE"])
def test_a_host_that_is_none_is_blamed_on_the_host(tmp_path: Path, server: str) -> None:
    """Not on the port, which is fine."""
    assert refused(tmp_path, **{f"{server}_HOST": "nope.invalid"}).startswith(f"{server}_HOST: nope.invalid")


@pytest.mark.parametrize("port", PORTS)
def test_a_refused_start_makes_nothing(tmp_path: Path, port: int) -> None:
    """Whichever port is taken: no folder, no database, no secret."""
    with taken(port):
        assert str(port) in refused(tmp_path)
    assert list(tmp_path.iterdir()) == []
