"""The link in the mail about a new connection, with which anybody who has the mail can end that connection."""

from gatepost_idp import tokens
from gatepost_idp.crypto import SecretKeys
from gatepost_idp.database import Database
from gatepost_idp.protocol import Clock
from gatepost_idp.store import connections, grants, outbox
from gatepost_idp.store.outbox import News
from gatepost_idp.transaction import Transaction


class CutOff:
    """The steps of the link, which does nothing else: it signs nobody in and shows no more than the mail."""

    def __init__(self, database: Database, secret_keys: SecretKeys, clock: Clock) -> None:
        self._database = database
        self._secret_keys = secret_keys
        self._clock = clock

    async def opened(self, token: str) -> News | None:
        """The connection that the link would end; None if it has ended or the link is invalid. Changes nothing."""
        grant_id = tokens.grant_of_cut_off(self._secret_keys, token)
        return await self._database.read(lambda tx: outbox.news(tx, grant_id)) if grant_id else None

    async def cut(self, token: str, network: str) -> bool:
        """Ends the connection and forgets its consent; idempotent. False if the link is invalid."""
        grant_id = tokens.grant_of_cut_off(self._secret_keys, token)
        if grant_id is None:
            return False
        now = self._clock()

        def work(tx: Transaction) -> None:
            connections.forget_consent(tx, grant_id)  # or a stolen session could reconnect it silently
            grants.end(tx, grant_id, "cut off by mail", now, network=network)

        await self._database.write(work)
        return True
