"""Validates a call's arguments against the tool's schema, with a bound on the work that a backend's schema can cause.

Some keywords are left to the backend, which checks its arguments anyway: a regular expression, or the comparison of
all items with each other, could be made to run for hours here, on the thread that all calls share. No ``$ref`` is
fetched.
"""

from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jsonschema import validators
from jsonschema.exceptions import ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import Draft202012Validator
from referencing import Registry

MAX_STEPS = 20_000
MAX_DEPTH = 100
"""Well below Python's recursion limit: at that, the library's Rust part panics, which ends more than one call."""

MAX_SHOWN_CHARACTERS = 300
LEFT_TO_THE_BACKEND = frozenset(
    {"pattern", "patternProperties", "uniqueItems", "unevaluatedItems", "unevaluatedProperties", "format"}
)

Keyword = Callable[[Validator, Any, Any, Mapping[str, Any]], Iterator[ValidationError] | None]


@dataclass(slots=True)
class _Work:
    """The steps that one check has left, and its current depth."""

    steps: int = MAX_STEPS
    depth: int = 0


_work: ContextVar[_Work] = ContextVar("work")


class TooMuchWork(Exception):
    """The schema and these arguments together would take too long."""


class Arguments:
    """The validator of one tool's arguments, built at its first call."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        """``schema``: the tool's ``inputSchema``; JSON Schema 2020-12 if it names no other (MCP)."""
        self._schema = schema

    @cached_property
    def _validator(self) -> Validator:
        """Built within ``problem``, which catches errors: ``$schema`` may be anything, and make this fail too."""
        base = validators.validator_for(self._schema, default=Draft202012Validator)
        return _bounded(base)(self._schema, registry=Registry())

    def problem(self, arguments: Mapping[str, Any]) -> str | None:
        """What is wrong with the arguments, in one line for the caller; None if nothing is."""
        token = _work.set(_Work())
        try:
            error = next(self._validator.iter_errors(arguments), None)
        except TooMuchWork:
            return "they are too many or too deep to be checked against the tool's schema"
        except Exception:  # noqa: BLE001 - a schema that somebody else wrote: broken, endless, or with a $ref to nowhere
            return "the tool's own schema cannot be used to check them"
        finally:
            _work.reset(token)
        return None if error is None else _said(error)


def _said(error: ValidationError) -> str:
    where = ".".join(str(part) for part in error.absolute_path)
    return f"{where}: {error.message}"[:MAX_SHOWN_CHARACTERS] if where else error.message[:MAX_SHOWN_CHARACTERS]


_made: dict[type[Validator], type[Validator]] = {}


def _bounded(base: type[Validator]) -> type[Validator]:
    """The validator class of that draft, with every step counted."""
    if base not in _made:
        keywords = {name: _counted(check) for name, check in base.VALIDATORS.items() if name not in LEFT_TO_THE_BACKEND}
        keywords["additionalProperties"] = _unless_patterns(keywords["additionalProperties"])
        _made[base] = validators.create(base.META_SCHEMA, keywords, type_checker=base.TYPE_CHECKER)
    return _made[base]


def _counted(check: Keyword) -> Keyword:
    def counted(
        validator: Validator, value: Any, instance: Any, schema: Mapping[str, Any]
    ) -> Iterator[ValidationError]:
        work = _work.get()
        work.steps -= 1 + (len(value) if isinstance(value, list | dict) else 0)
        work.depth += 1
        if work.steps < 0 or work.depth > MAX_DEPTH:
            raise TooMuchWork
        yield from check(validator, value, instance, schema) or ()
        work.depth -= 1

    return counted


def _unless_patterns(check: Keyword) -> Keyword:
    """Skipped beside ``patternProperties``: what is additional depends on expressions that are not run here."""

    def unless(validator: Validator, value: Any, instance: Any, schema: Mapping[str, Any]) -> Iterator[ValidationError]:
        if "patternProperties" not in schema:
            yield from check(validator, value, instance, schema) or ()

    return unless


def remote_references(schema: Any) -> Iterator[str]:
    """Every ``$ref`` (or kin) that points outside the schema, to an address that would have to be fetched."""
    pending = [schema]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            for name in ("$ref", "$dynamicRef", "$recursiveRef"):
                target = node.get(name)
                if isinstance(target, str) and not target.startswith("#"):
                    yield target
            pending.extend(node.values())
        elif isinstance(node, list):
            pending.extend(node)
