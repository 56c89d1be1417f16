"""The link in the mail about a new connection: it ends that one connection, for whoever holds the mail."""

from gatepost_idp import tokens
from gatepost_idp.crypto import SecretKeys
from gatepost_idp.database import Database
from gatepost_idp.protocol import Clock
from gatepost_idp.store import connections, grants, outbox
from gatepost_idp.store.outbox import News
from gatepost_idp.transaction import Transaction


class CutOff:
    """The link serves nothing else: it signs nobody in, and shows no more than the mail did."""

    def __init__(self, database: Database, secret_keys: SecretKeys, clock: Clock) -> None:
        self._database = database
        self._secret_keys = secret_keys
        self._clock = clock

    async def opened(self, token: str) -> News | None:
        """What the link would cut off; None where that has ended already, or the link is bent. Changes nothing."""
        grant_id = tokens.grant_of_cut_off(self._secret_keys, token)
        return await self._database.read(lambda tx: outbox.news(tx, grant_id)) if grant_id else None

    async def cut(self, token: str, network: str) -> bool:
        """Ends the connection; False where the link is bent. A second time is as good as the first."""
        grant_id = tokens.grant_of_cut_off(self._secret_keys, token)
        if grant_id is None:
            return False
        now = self._clock()

        def work(tx: Transaction) -> None:
            connections.forget_consent(tx, grant_id)  # else a session in the wrong hands connects it again in silence
            grants.end(tx, grant_id, "cut off by mail", now, network=network)

        await self._database.write(work)
        return True
