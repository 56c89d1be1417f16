"""The authorization code grant (OAuth 2.1 section 4.1.3)."""

from datetime import timedelta

from gatepost_idp import crypto, pkce, tokens
from gatepost_idp.grants.token_endpoint import Redeem, TokenRequest
from gatepost_idp.protocol import Refused
from gatepost_idp.store import codes
from gatepost_idp.store.codes import Redemption


def authorization_code(asked: TokenRequest) -> Redeem | Refused:
    """Redeems ``code`` with its ``code_verifier``. ``redirect_uri`` is optional (OAuth 2.1 section 10.2)."""
    code, verifier = asked.parameters.get("code"), asked.parameters.get("code_verifier")
    if code is None:
        return Refused("invalid_request", "The code is missing.", "no code", "no code", "the code from the redirect")
    if verifier is None:
        expected = "the code_verifier behind the code_challenge of /authorize"
        return Refused("invalid_request", "The code_verifier is missing.", "no code_verifier", "none", expected)
    refresh_token = crypto.opaque_token(tokens.REFRESH_PREFIX) if asked.client.refreshes else None
    redemption = Redemption(
        code_hash=crypto.token_hash(code),
        client_id=asked.client.id,
        redirect_uri=asked.parameters.get("redirect_uri"),
        resource=asked.parameters.resource,
        proves=lambda challenge: pkce.proves(verifier, challenge),
        refresh_token=refresh_token,
        refresh_token_hash=crypto.token_hash(refresh_token) if refresh_token else None,
        refresh_expires_at=asked.now + timedelta(days=asked.settings.refresh_token_days),
        network=asked.network,
    )
    return lambda tx: codes.redeem_code(tx, redemption, asked.now)
