"""The server's own side: settings, files, database, keys, clock, catalogue, backends, mail server, an account."""

from gatepost_idp.operate.doctor.finding import Check
from gatepost_idp.operate.doctor.inside import (
    account,
    backend_tools,
    backends,
    catalogue,
    clock,
    configuration,
    sealing,
    smtp,
    storage,
)
from gatepost_idp.operate.doctor.inside.installation import Installation

CHEAP: tuple[Check[Installation], ...] = (
    configuration.SETTINGS,
    configuration.FILES,
    storage.DATABASE,
    storage.SCHEMA,
    sealing.KEYS,
    clock.CLOCK,
    catalogue.CATALOGUE,
    backends.BACKENDS,
)
"""Checks cheap enough for a running server to repeat every minute."""

REST: tuple[Check[Installation], ...] = (smtp.SMTP, account.ACCOUNT, backend_tools.BACKEND_TOOLS)
"""Checks that contact the mail server or the backends, or concern one person."""
