"""Copies of well-known metadata documents, for when their own hosts refuse to show them to a server like this one."""

import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime, time
from functools import cache
from pathlib import Path

from gatepost_idp.clients import metadata_document
from gatepost_idp.clients.metadata import Registration
from gatepost_idp.clients.metadata_document import MetadataDocument

_FILE = Path(__file__).with_name("pinned_documents.toml")


@dataclass(frozen=True, slots=True)
class Pinned:
    """What a document said when it was written down."""

    registration: Registration
    written_at: datetime


@cache
def documents() -> dict[str, Pinned]:
    """Every pinned copy by its URL, read by the same rules as a fetched one."""
    table = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    written_at = datetime.combine(table["date"], time(), UTC)
    found = [MetadataDocument.model_validate(each) for each in table["document"]]
    return {
        each.client_id: Pinned(metadata_document.registration_of(each.client_id, each), written_at) for each in found
    }
