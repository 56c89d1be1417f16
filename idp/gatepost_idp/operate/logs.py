"""Logs: text on a terminal, else JSON. No query string, cookie, token, code or whole address goes in."""

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
    """Sets structlog up for this process; loggers of libraries speak from WARNING up, in the same form."""
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
    # Authlib logs tokens at DEBUG; no level of ours may let that through.
    logging.getLogger("authlib").setLevel(logging.WARNING)


@cache
def _encoder(default: Callable[[Any], Any]) -> json.JSONEncoder:
    return json.JSONEncoder(default=default)


def _as_json(event: Any, default: Callable[[Any], Any]) -> str:
    """What ``json.dumps`` writes, by an encoder that is made once and not for each line."""
    return _encoder(default).encode(event)


def _add_trace_id(_logger: Any, _name: str, event: Any) -> Any:
    """Every line that is written while a request runs says which authorization it is about."""
    if trace_id := traces.current().id:
        event.setdefault("trace_id", trace_id)
    return event


def _drop_meta(logger: Any, name: str, event: Any) -> Any:
    return structlog.stdlib.ProcessorFormatter.remove_processors_meta(logger, name, event)
