"""Measures a person's whole first connection: discovery, registration, sign-in by mail, consent, code, tokens."""

import time
from urllib.parse import parse_qs, urlsplit

import httpx2

from bench.load import cpu_seconds
from bench.rounds import Row
from bench.running import Subject
from bench.subjects import CALLBACK, VERIFIER, Wire
from tests.support.person import Person
from tests.support.smtp import Postbox

JOURNEY = "whole journey"


def journeys(subject: Subject, at: Wire, postbox: Postbox, number: int, count: int) -> Row:
    """Measures ``count`` people, one after another, each from a different network; mail limits keep their defaults."""
    cpu, load, began, took = cpu_seconds(subject.pid), time.process_time(), time.perf_counter(), []
    for person in range(count):
        started = time.perf_counter()
        _journey(at, postbox, f"journey{number}.{person}@example.com", f"10.8.{number}.{person}")
        took.append((time.perf_counter() - started) * 1000)
    seconds, used = time.perf_counter() - began, cpu_seconds(subject.pid) - cpu
    return Row(
        JOURNEY, 1, subject.name, number, count,
        rate=round(count / seconds, 2),
        cpu_ms=round(used / count * 1000, 2),
        database_ms=0.0,
        load_ms=round((time.process_time() - load) / count * 1000, 2),
        p50_ms=round(sorted(took)[count // 2], 1),
        p99_ms=round(max(took), 1),
        busy=round(used / seconds, 3),
    )  # fmt: skip  # a row


def _journey(at: Wire, postbox: Postbox, email: str, network: str) -> None:
    with Person(email, postbox) as person:
        person.browser.headers["x-forwarded-for"] = network
        person.browser.get(f"{at.base}/.well-known/oauth-authorization-server")
        client_id = at.registered()
        answer = person.walk(at.authorize_url(client_id))
        form = {
            "grant_type": "authorization_code", "code": parse_qs(urlsplit(answer).query)["code"][0],
            "redirect_uri": CALLBACK, "code_verifier": VERIFIER, "client_id": client_id, "resource": at.resource,
        }  # fmt: skip  # a form
        httpx2.post(f"{at.base}{at.token}", data=form, trust_env=False).raise_for_status()
