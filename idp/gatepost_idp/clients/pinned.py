"""Built-in copies of well-known metadata documents, used when their hosts do not serve them to this server."""

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
    """A document's metadata, as of ``written_at``."""

    registration: Registration
    written_at: datetime


@cache
def documents() -> dict[str, Pinned]:
    """Every pinned copy by its URL, checked by the same rules as a fetched one."""
    table = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    written_at = datetime.combine(table["date"], time(), UTC)
    found = [MetadataDocument.model_validate(each) for each in table["document"]]
    return {
        each.client_id: Pinned(metadata_document.registration_of(each.client_id, each), written_at) for each in found
    }
