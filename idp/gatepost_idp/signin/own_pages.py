"""Signs people in for this server's own pages, on the same road as for a client, only that it leads back here."""

from datetime import datetime

from gatepost_idp import crypto, traces
from gatepost_idp.store import requests
from gatepost_idp.store.clients import OWN
from gatepost_idp.store.requests import Request
from gatepost_idp.transaction import Transaction


def begin(tx: Transaction, path: str, browser: str, now: datetime) -> str:
    """The id of a request that ends at ``path``, one of our own written in the code, for this browser.

    Whoever comes here was found signed out, or in for too long: so it wants a fresh sign-in.
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
