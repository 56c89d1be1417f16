"""METRICS_ADDRESS: what the operator may see of readiness, on a listener of its own; the public sees ready or not."""

from pathlib import Path

import httpx2

from tests.faults.asking import as_process, as_thread, built, changed, crowd, details
from tests.faults.mailservers import Office, opened
from tests.store.servers import Postgres
from tests.support.ports import free_port
from tests.support.serving import serving


def test_details_of_a_healthy_server(tmp_path: Path) -> None:
    """Both parts are there by name, well, and without a problem; the public address shows less."""
    with serving(tmp_path, metrics_address=f"127.0.0.1:{free_port()}") as idp:
        well = {"ok": True, "problem": ""}
        assert details(idp) == {"ready": True, "database": well, "mail": well, "doctor": []}
        assert idp.get("/readyz").json() == {"status": "ready"}
        assert httpx2.get(f"http://{idp.settings.metrics_address}/sign-in/x", trust_env=False).status_code == 404


def test_details_of_mail_that_waits(tmp_path: Path) -> None:
    """A mail server that is away, and one that was never named, are said in words; the public address says neither,
    and the server goes on serving whoever is signed in."""
    office = Office()
    idp = built(tmp_path, office, metrics_address=f"127.0.0.1:{free_port()}")
    with as_thread(idp), crowd(idp, ["alice"]) as [alice]:
        alice.until("delayed")
        told = details(idp)
        assert told["ready"] is True
        assert told["mail"]["ok"] is False
        assert "SMTPConnectError" in told["mail"]["problem"]
        assert "alice" not in str(told)
        public = idp.get("/readyz")
        assert (public.status_code, public.json()) == (200, {"status": "ready"})
        with opened(office):
            office.wait("alice@example.com")
            alice.until("sent")
            assert details(idp)["mail"] == {"ok": True, "problem": ""}
    with as_thread(changed(idp, smtp_host="")):
        assert details(idp)["mail"] == {"ok": False, "problem": "SMTP_HOST is not set"}


def test_details_of_a_database_that_is_away(tmp_path: Path, postgres: Postgres) -> None:
    """Without its database the server is not ready: 503 on both addresses; the reason stands on the operator's."""
    url = postgres.migrated()
    idp = built(tmp_path, Office(), secret_key=("a key of more than thirty two characters",))
    idp = changed(idp, metrics_address=f"127.0.0.1:{free_port()}")
    settings = {"DATABASE_URL": url, "METRICS_ADDRESS": idp.settings.metrics_address}
    with as_process(idp, tmp_path / "idp.log", **settings):
        assert details(idp)["ready"] is True
        postgres.drop(url)
        told = details(idp)
        assert told["ready"] is False
        assert told["database"]["ok"] is False
        assert told["database"]["problem"]
        assert httpx2.get(f"http://{idp.settings.metrics_address}/readyz", trust_env=False).status_code == 503
        public = idp.get("/readyz")
        assert public.status_code == 503
        assert told["database"]["problem"] not in public.text


def test_a_taken_port_costs_the_details_alone(tmp_path: Path) -> None:
    """A port that somebody else has costs the details, not the server: a warning names the setting."""
    port = free_port()
    office = Office()
    idp = built(tmp_path, office)
    with (
        serving(tmp_path / "first", metrics_address=f"127.0.0.1:{port}") as first,
        as_process(idp, tmp_path / "idp.log", METRICS_ADDRESS=f"127.0.0.1:{port}") as server,
    ):
        assert details(first)["ready"] is True
        assert "details_not_served" in server.logged()
        assert "METRICS_ADDRESS" in server.logged()
        assert idp.get("/healthz").status_code == 200


def test_details_of_what_doctor_finds(tmp_path: Path) -> None:
    """What doctor's checks of this side find stands there too, each with its setting, asked once a minute at the most;
    it makes no server unready, and the public address shows none of it."""
    catalogue = tmp_path / "catalogue.toml"
    catalogue.write_text('[[resource]]\nname = "X"\nurl = "https://x.example/mcp"\n')
    address = f"127.0.0.1:{free_port()}"
    with serving(tmp_path, metrics_address=address, catalogue=str(catalogue)) as idp:
        told = details(idp)
        [finding] = told["doctor"]
        assert (finding["fault"], finding["setting"]) == ("catalogue-lacks-resource", "CATALOGUE")
        assert told["ready"] is True
        assert "doctor" not in idp.get("/readyz").json()
        idp.settings.secret_key_path.chmod(0o644)
        assert details(idp)["doctor"] == [finding]
        idp.clock.forward(seconds=61)
        assert {found["fault"] for found in details(idp)["doctor"]} == {"key-file-open", "catalogue-lacks-resource"}
