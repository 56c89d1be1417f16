"""Sets up logging: text on a terminal, else JSON. No query string, cookie, token, code or full address is logged."""

import json
import logging
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import structlog

from gatepost_idp import traces
from gatepost_idp.settings import Settings


def configure(settings: Settings) -> None:
    """Sets up structlog for this process; libraries log from WARNING up, in the same format."""
    level = getattr(logging, settings.log_level.upper())
    as_text = (settings.log_format or ("text" if sys.stderr.isatty() else "json")) == "text"
    shared: list[Any] = [
        _add_trace_id,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    last: Any = structlog.dev.ConsoleRenderer() if as_text else structlog.processors.JSONRenderer(_as_json)
    structlog.configure(
        processors=[*shared, last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=[_drop_meta, last], foreign_pre_chain=shared))
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)
    # Authlib logs tokens at DEBUG, which no LOG_LEVEL may let through.
    logging.getLogger("authlib").setLevel(logging.WARNING)


@cache
def _encoder(default: Callable[[Any], Any]) -> json.JSONEncoder:
    return json.JSONEncoder(default=default)


def _as_json(event: Any, default: Callable[[Any], Any]) -> str:
    """Like ``json.dumps``, but with an encoder that is made only once."""
    return _encoder(default).encode(event)


def _add_trace_id(_logger: Any, _name: str, event: Any) -> Any:
    """Adds the trace id of the current request to each line."""
    if trace_id := traces.current().id:
        event.setdefault("trace_id", trace_id)
    return event


def _drop_meta(logger: Any, name: str, event: Any) -> Any:
    return structlog.stdlib.ProcessorFormatter.remove_processors_meta(logger, name, event)
