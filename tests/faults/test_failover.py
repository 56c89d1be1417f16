"""PostgreSQL fails over to a real standby under load: no answered token is lost, and the only error is 503."""

import time
from pathlib import Path

from tests.faults.load import chains, nothing_lost, replicated, under_load
from tests.faults.sizes import BACK_SECONDS, SIZES, told
from tests.faults.standby import primary_and_standby
from tests.support.smtp import receiving


def test_a_failover_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    """Two replicas, synchronous replication; the connection to the standby is cut before the primary dies, so whatever
    only the primary has is lost. DATABASE_URL names both servers; nothing is reconfigured or restarted."""
    with receiving() as mails, primary_and_standby() as postgres:
        settings = {"database_url": postgres.url, "secret_key": ("k" * 40,), "refresh_grace_seconds": 300}
        with replicated(tmp_path, mails, 2, **settings) as two:
            load = chains(two, SIZES.chains)
            with under_load(two, load):
                time.sleep(1)
                postgres.fail_over(SIZES.outage)
                began = time.monotonic()
                time.sleep(BACK_SECONDS + 2)
            nothing_lost(two, load)
            assert all(chain.unavailable for chain in load)
            healed = max(0.0, max(chain.last_trouble for chain in load) - began)
            told(f"{sum(chain.answered for chain in load)} answers, healed {healed:.1f} s after the promotion")
            assert healed < BACK_SECONDS
