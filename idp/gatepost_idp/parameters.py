"""Parses OAuth parameters from a query or form: each once, in UTF-8, without NUL (RFC 6749 section 3.1)."""

from dataclasses import dataclass
from urllib.parse import parse_qsl

from gatepost_idp.protocol import Refused

MAX_BYTES = 64 * 1024
MAX_FIELDS = 100
_CLIENT_PARAMETERS = ("client_id", "redirect_uri")


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of one request, without empty values; of a repeated one, the first value."""

    values: dict[str, str]
    resources: tuple[str, ...]
    repeated: tuple[str, ...]

    def get(self, name: str) -> str | None:
        """The value of ``name``; None if it is absent or empty."""
        return self.values.get(name)

    @property
    def repeats_who_asks(self) -> bool:
        """Whether client_id or redirect_uri is repeated, so that no answer may be redirected."""
        return any(name in self.repeated for name in _CLIENT_PARAMETERS)

    def check_single(self) -> Refused | None:
        """The refusal of a repeated parameter, or None; ``resource`` may repeat the same value (RFC 8707 section 2)."""
        if self.repeated:
            names = ", ".join(name[:32] for name in self.repeated[:5])
            return Refused("invalid_request", "A parameter is repeated.", "repeated parameter", names, "each once")
        if len(self.resources) > 1:
            return Refused(
                "invalid_target", "Ask for one resource at a time.", "several different resources",
                f"{len(self.resources)} resources", "one resource",
            )  # fmt: skip
        return None

    @property
    def resource(self) -> str | None:
        """The requested resource (RFC 8707), or None."""
        return self.resources[0] if self.resources else None


def parse(encoded: str) -> Parameters | Refused:
    """The parameters in ``encoded``, application/x-www-form-urlencoded text; ``invalid_request`` if malformed."""
    if len(encoded) > MAX_BYTES:
        return Refused("invalid_request", "The request is too large.", f"{len(encoded)} characters")
    if not encoded.isascii():
        return Refused("invalid_request", "The parameters are not percent-encoded.", "raw bytes outside ASCII")
    try:
        pairs = parse_qsl(encoded, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except (ValueError, UnicodeError) as problem:
        return Refused("invalid_request", "The parameters cannot be read as UTF-8.", type(problem).__name__)
    values: dict[str, str] = {}
    repeated: list[str] = []
    for name, value in pairs:
        if "\0" in name or "\0" in value:
            return Refused("invalid_request", "A parameter holds a NUL character.", "NUL")
        if name in values and name != "resource":
            repeated.append(name)
        values.setdefault(name, value)
    resources = tuple(dict.fromkeys(value for name, value in pairs if name == "resource" and value))
    present = {name: value for name, value in values.items() if value}
    return Parameters(values=present, resources=resources, repeated=tuple(repeated))
