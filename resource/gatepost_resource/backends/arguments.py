"""A call's arguments against the tool's schema, with a bound on the work that a schema of somebody else's can cause.

Some keywords are left to the backend, which checks its arguments anyway: an expression of its own, or the comparison
of each item with each, could be made to run for hours here, on a thread that everybody's calls share. Nothing is
fetched for a ``$ref``.
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
"""Far from where Python stops: the library's part in Rust makes a panic of that, which ends more than a call."""

MAX_SHOWN_CHARACTERS = 300
LEFT_TO_THE_BACKEND = frozenset(
    {"pattern", "patternProperties", "uniqueItems", "unevaluatedItems", "unevaluatedProperties", "format"}
)

Keyword = Callable[[Validator, Any, Any, Mapping[str, Any]], Iterator[ValidationError] | None]


@dataclass(slots=True)
class _Work:
    """What one check may still do, and how deep it is."""

    steps: int = MAX_STEPS
    depth: int = 0


_work: ContextVar[_Work] = ContextVar("work")


class TooMuchWork(Exception):
    """The schema and these arguments together would take too long."""


class Arguments:
    """The check of one tool's arguments, made ready at the first call."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        """``schema``: the tool's ``inputSchema``; 2020-12 where it names no other (MCP)."""
        self._schema = schema

    @cached_property
    def _validator(self) -> Validator:
        """Not sooner: what stands as ``$schema`` may be anything, and break this as well."""
        base = validators.validator_for(self._schema, default=Draft202012Validator)
        return _bounded(base)(self._schema, registry=Registry())

    def problem(self, arguments: Mapping[str, Any]) -> str | None:
        """What is wrong with them, in one line for the caller; None where nothing is."""
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
    """The validator of that draft, each of whose steps is counted."""
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
    """What is additional depends on the expressions that are not tried here."""

    def unless(validator: Validator, value: Any, instance: Any, schema: Mapping[str, Any]) -> Iterator[ValidationError]:
        if "patternProperties" not in schema:
            yield from check(validator, value, instance, schema) or ()

    return unless


def remote_references(schema: Any) -> Iterator[str]:
    """Every ``$ref`` that leads out of the schema: it would be somebody's address to fetch."""
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
