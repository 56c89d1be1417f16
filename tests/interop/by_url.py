"""Both servers, for clients that are the URLs of their metadata documents, served by a host in the tests."""

import contextlib
import dataclasses
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gatepost_idp.clients.fetcher import Fetcher
from gatepost_idp.clients.metadata_document import DocumentUrl, Fetched
from tests.support.documents import DocumentHost, response, showing
from tests.support.ports import free_port
from tests.support.processes import environment_of, running
from tests.support.serving import Clock, listening, settings_of, upgrade
from tests.support.smtp import Postbox


class _OnePort(Fetcher):
    """Fetches as always, except for the port: only root may listen on 443."""

    def __init__(self, host: DocumentHost) -> None:
        tls = ssl.create_default_context()
        host.ca.configure_trust(tls)
        super().__init__(host.resolve, lambda address: address == "127.0.0.1", tls)
        self._port = host.port

    async def fetch(self, url: DocumentUrl, etag: str = "", network: str = "") -> Fetched:
        """From the host in the tests, which has a certificate for every requested name."""
        return await super().fetch(dataclasses.replace(url, port=self._port), etag, network)


@dataclasses.dataclass
class ByUrl:
    """The IdP in this process, the resource server as a process, and the host of documents."""

    issuer: str
    mcp: str
    host: DocumentHost

    def show(self, document: dict[str, Any]) -> str:
        """Serves it at its ``client_id``; returns that URL."""
        url = str(document["client_id"])
        self.host.answers[f"/{url.split('/', 3)[3]}"] = response(json.dumps(document).encode())
        return url

    def show_script(self, path: str, redirect: str = "http://127.0.0.1/callback") -> str:
        """Serves a document for a program of the tests; returns its URL."""
        return self.show(
            {
                "client_id": self.host.url(path),
                "client_name": "A script",
                "redirect_uris": [redirect],
                "token_endpoint_auth_method": "none",
            }
        )


@contextlib.contextmanager
def serving_urls(folder: Path, postbox: Postbox, *names: str) -> Iterator[ByUrl]:
    """Serves both; ``names`` are the hosts of the documents to serve."""
    port, resource_port = free_port(), free_port()
    mcp = f"http://localhost:{resource_port}/mcp"
    settings = settings_of(folder, postbox, port, mcp_resource_url=mcp)
    upgrade(settings)
    environment = environment_of(
        OAUTH_ISSUER=settings.oauth_issuer,
        MCP_RESOURCE_URL=mcp,
        RESOURCE_PORT=str(resource_port),
        METRICS_ADDRESS="",
    )
    base = f"http://127.0.0.1:{resource_port}"
    with (
        showing(*names) as host,
        listening(settings, Clock(), port, _OnePort(host)),
        running(base, environment, folder / "resource.log", "gatepost_resource"),
    ):
        yield ByUrl(settings.oauth_issuer, mcp, host)
