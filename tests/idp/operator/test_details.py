"""METRICS_ADDRESS: readiness details for the operator, on a separate listener; the public sees ready or not."""

import re
import smtplib
from pathlib import Path

import httpx2

from gatepost_idp.demo_mailbox import Mailbox
from gatepost_idp.pages import Pages
from tests.faults.asking import as_process, as_thread, built, changed, crowd, details
from tests.faults.mailservers import Office, opened
from tests.store.servers import Postgres
from tests.support.ports import free_port
from tests.support.serving import answering, serving, settings_of
from tests.support.smtp import Postbox


def test_details_of_a_healthy_server(tmp_path: Path) -> None:
    """Both parts are listed by name, healthy and without a problem; the public address shows less."""
    with serving(tmp_path, metrics_address=f"127.0.0.1:{free_port()}") as idp:
        well = {"ok": True, "problem": ""}
        assert details(idp) == {"ready": True, "database": well, "mail": well, "doctor": []}
        assert idp.get("/readyz").json() == {"status": "ready"}
        assert httpx2.get(f"http://{idp.settings.metrics_address}/sign-in/x", trust_env=False).status_code == 404


def test_details_of_mail_that_waits(tmp_path: Path) -> None:
    """A mail server that is down, or not configured, is explained; the public address says neither, and the server
    goes on serving people who are signed in."""
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
    """Without its database the server is not ready: 503 on both addresses, with the reason on the operator's only."""
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
    """If the port is taken, the details are missing, and the server runs: a warning names the setting."""
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
    """The findings of doctor's local checks are there too, each with its setting, run at most once a minute; they do
    not make the server unready, and the public address shows none of them."""
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


FOREIGN = [
    "rebound.example:{port}",
    "127.0.0.1.rebound.example",
    "localhost.rebound.example:{port}",
    "rebound.example",
    "",
]


def test_details_are_not_read_by_a_page_under_a_rebound_name(tmp_path: Path) -> None:
    """The mail server's answers and doctor's findings are served only under the listener's own name."""
    port = free_port()
    with serving(tmp_path, metrics_address=f"127.0.0.1:{port}", allowed_hosts=("metrics.internal",)) as idp:
        details(idp)  # it listens
        for path in ("/readyz", "/metrics"):
            asked = [status(port, path, host.format(port=port)) for host in FOREIGN]
            assert asked == [421] * len(FOREIGN)
            for host in (f"localhost:{port}", "LOCALHOST", "127.0.0.1", f"[::1]:{port}", "metrics.internal:80"):
                assert status(port, path, host) == 200, host


def test_details_on_every_address_are_read_by_any_name(tmp_path: Path) -> None:
    """If it listens on every address, Prometheus may use any name of the machine, and those are not known."""
    port = free_port()
    with serving(tmp_path, metrics_address=f"0.0.0.0:{port}"):
        assert httpx2.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).status_code == 200
        assert status(port, "/metrics", "idp.internal:9100") == 200


def test_the_demos_mailbox_is_not_read_by_a_page_under_a_rebound_name(tmp_path: Path) -> None:
    """It shows codes and links only under its own name."""
    port, smtp_port = free_port(), free_port()
    settings = settings_of(tmp_path, Postbox(), free_port())
    with answering(Mailbox(Pages(settings), smtp_port).application(), port):
        with smtplib.SMTP("127.0.0.1", smtp_port) as sender:
            sender.sendmail("a@x.test", ["alice@example.com"], "Subject: 1234 5678 is your code\r\n\r\nhello")
        for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}"):
            assert status(port, "/", host) == 200
        page = httpx2.get(f"http://127.0.0.1:{port}/", trust_env=False).text
        [message] = re.findall(r"/messages/[\w-]+", page)
        for path in ("/", message, f"{message}/html"):
            assert status(port, path, f"127.0.0.1:{port}") == 200
            assert {status(port, path, host.format(port=port)) for host in FOREIGN} == {421}


def status(port: int, path: str, host: str) -> int:
    """The status for a browser whose DNS says that ``host`` is this machine."""
    url = f"http://127.0.0.1:{port}{path}"
    return httpx2.get(url, headers={"host": host}, trust_env=False, timeout=10).status_code
