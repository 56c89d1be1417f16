"""Begins a sign-in for this server's own pages: an authorization request with no client, which ends at a page here."""

from datetime import datetime

from gatepost_idp import crypto, traces
from gatepost_idp.store import requests
from gatepost_idp.store.clients import OWN
from gatepost_idp.store.requests import Request
from gatepost_idp.transaction import Transaction


def begin(tx: Transaction, path: str, browser: str, now: datetime) -> str:
    """Stores a request of this browser that ends at ``path`` and returns its id; ``path`` never comes from outside.

    It demands a fresh sign-in: the person was found signed out, or signed in for too long.
    """
    request_id = crypto.random_id()
    request = Request(
        id=request_id,
        trace_id=traces.id_of(request_id),
        client_id=OWN.id,
        client_row=OWN.row,
        redirect_uri=path,
        state=None,
        scope=(),
        resource="",
        resource_named=False,
        code_challenge="",
        nonce=None,
        prompt=("login",),
        max_age=None,
        created_at=now,
    )
    requests.add(tx, request, crypto.token_hash(browser), now + requests.LIFE)
    return request.id
