"""Runs the rows of docs/reliability.md at full size, one after another: ``python -m tests.torture [ROW …]``."""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_LOST, _CLOCKS = "tests/faults/test_nothing_lost.py", "tests/faults/test_keys_and_clocks.py"
ROWS: dict[str, tuple[str, ...]] = {
    "codes": (f"{_LOST}::test_of_many_redemptions_of_one_code_one_wins",),
    "refresh": (f"{_LOST}::test_of_many_refreshes_of_one_token_each_gets_the_same_successor",),
    "kills": (f"{_LOST}::test_kill_9_loses_nothing_that_was_answered",),
    "postgresql": (
        f"{_LOST}::test_a_stopped_postgresql_is_503_and_heals",
        f"{_LOST}::test_a_read_only_postgresql_is_503_and_heals",
    ),
    "failover": ("tests/faults/test_failover.py",),
    "disk": (
        f"{_LOST}::test_a_full_disk_is_503_and_heals",
        f"{_LOST}::test_a_database_locked_by_another_process_is_503_and_heals",
    ),
    "starts": (f"{_LOST}::test_processes_that_start_at_once_agree",),
    "stops": (f"{_LOST}::test_a_stop_answers_what_is_in_flight_and_takes_nothing_new", "tests/faults/test_drain.py"),
    "redis": ("tests/faults/test_redis.py",),
    "rotations": (f"{_CLOCKS}::test_rotating_keys_refuses_no_valid_token",),
    "clocks": (
        f"{_CLOCKS}::test_clocks_of_the_two_servers_differ",
        f"{_CLOCKS}::test_a_step_back_of_an_hour_revives_nothing",
        f"{_CLOCKS}::test_what_expired_stays_dead_after_a_step_back",
    ),
    "forged": (f"{_CLOCKS}::test_no_forged_token_is_accepted",),
    "mail": ("tests/faults/test_mail_outages.py",),
    "journeys": (
        f"{_LOST}::test_the_whole_road_over_replicas_by_chance",
        "tests/faults/test_journeys_on_replicas.py",
    ),
    "backups": ("tests/faults/test_backups.py",),
    "fuzz": ("tests/fuzz",),
    "day": ("tests/faults/test_a_day_of_load.py",),
}
FUZZ_CASES = 100_000


def main(names: list[str]) -> int:
    """Runs the named rows, or all; returns how many failed."""
    if unknown := set(names) - ROWS.keys():
        print(f"No row is called {', '.join(sorted(unknown))}. There are: {', '.join(ROWS)}.")
        return 1
    return sum(not _runs(name) for name in names or ROWS)


def _runs(name: str) -> bool:
    print(f"== {name}", flush=True)
    began = time.monotonic()
    # --capture=sys: the tests' progress messages show at once (tests/faults/sizes.py).
    command = [sys.executable, "-m", "pytest", "-q", "--capture=sys", *ROWS[name]]
    environment = {**os.environ, "GATEPOST_TORTURE": "full", "GATEPOST_FUZZ_CASES": str(FUZZ_CASES)}
    passed = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0
    print(f"== {name} {'held' if passed else 'DID NOT HOLD'} after {time.monotonic() - began:.0f} s", flush=True)
    return passed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
