"""The refresh token grant (OAuth 2.1 section 4.3): tokens rotate; a repeat within the grace period is idempotent."""

from datetime import timedelta

from gatepost_idp import crypto, tokens
from gatepost_idp.grants.token_endpoint import Redeem, TokenRequest
from gatepost_idp.protocol import Refused
from gatepost_idp.store import refresh_tokens
from gatepost_idp.store.refresh_tokens import Rotation


def refresh_token(asked: TokenRequest) -> Redeem | Refused:
    """Redeems ``refresh_token`` for its one successor; ``scope`` narrows only the access token of this response."""
    token = asked.parameters.get("refresh_token")
    if token is None:
        expected = "the refresh_token in the last answer"
        return Refused("invalid_request", "The refresh_token is missing.", "no refresh_token", "none", expected)
    key = asked.keys.refresh_key
    rotation = Rotation(
        token_hash=crypto.token_hash(token),
        client_id=asked.client.id,
        resource=asked.parameters.resource,
        successor=lambda salt: tokens.successor(key, token, salt),
        expires_at=asked.now + timedelta(days=asked.settings.refresh_token_days),
        grace=timedelta(seconds=asked.settings.refresh_grace_seconds),
        network=asked.network,
    )
    return lambda tx: refresh_tokens.rotate_refresh_token(tx, rotation, asked.now)
