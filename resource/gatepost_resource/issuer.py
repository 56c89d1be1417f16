"""HTTP to the authorization server: its metadata (RFC 8414), and JSON answers bounded in time and size."""

import json
import ssl
from typing import Any

import httpx2

from gatepost_resource.urls import hostname, is_loopback, origin, well_known

ANSWER_SECONDS = 5.0
MAX_DOCUMENT_BYTES = 64 * 1024


class BadDocument(ValueError):
    """The issuer answered with something that cannot be trusted or used; the text says what."""


class Issuer:
    """The authorization server at OAUTH_ISSUER. Requests raise BadDocument or the HTTP client's error."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._metadata: dict[str, Any] | None = None
        self._client = httpx2.AsyncClient(
            verify=_trust(url),
            timeout=ANSWER_SECONDS,
            follow_redirects=False,  # the issuer is trusted at its configured address only
            trust_env=not is_loopback(hostname(url)),
            headers={"accept": "application/json", "accept-encoding": "identity"},
        )

    async def endpoint(self, member: str) -> str:
        """The URL that the metadata gives for ``member``, which must be at the issuer's own origin."""
        if self._metadata is None:
            self._metadata = await self._discover()
        found = self._metadata.get(member)
        if not isinstance(found, str) or origin(found) != origin(self.url):
            self._metadata = None
            raise BadDocument(f"the {member} of {self.url} is missing, or not at the issuer's own origin")
        return found

    def forget(self) -> None:
        """Fetches the metadata again at the next call: an endpoint may have moved."""
        self._metadata = None

    async def get(self, url: str) -> dict[str, Any]:
        """The JSON object at ``url``; any status but 200 raises BadDocument."""
        return _plain(url, *await self._object("GET", url))

    async def post(self, url: str, form: dict[str, str], basic: tuple[str, str]) -> dict[str, Any]:
        """The JSON object of a 200 answer to ``form``; ``basic``: encoded id and secret (RFC 6749, section 2.3.1)."""
        return _plain(url, *await self.answer(url, form, basic))

    async def answer(self, url: str, form: dict[str, str], basic: tuple[str, str]) -> tuple[int, dict[str, Any]]:
        """Status and JSON object of the answer to ``form``, which may be a refusal (RFC 6749, section 5.2)."""
        return await self._object("POST", url, data=form, auth=basic)

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    async def _discover(self) -> dict[str, Any]:
        url = well_known(self.url, "oauth-authorization-server")
        metadata = await self.get(url)
        if metadata.get("issuer") != self.url:
            # RFC 8414, section 3.3: otherwise one issuer could speak for another (mix-up).
            raise BadDocument(f"the issuer in {url} is not OAUTH_ISSUER, byte for byte")
        return metadata

    async def _object(self, method: str, url: str, **options: Any) -> tuple[int, dict[str, Any]]:
        body = b""
        async with self._client.stream(method, url, **options) as response:
            status = response.status_code
            if "content-encoding" in response.headers:
                raise BadDocument(f"{url} answered {status}, not plainly")
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_DOCUMENT_BYTES:
                    raise BadDocument(f"{url} is larger than {MAX_DOCUMENT_BYTES} bytes")
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            raise BadDocument(f"{url} answered {status} with what is not JSON") from None
        if not isinstance(document, dict):
            raise BadDocument(f"{url} answered {status} with what is not a JSON object")
        return status, document


def _plain(url: str, status: int, document: dict[str, Any]) -> dict[str, Any]:
    if status != httpx2.codes.OK:
        raise BadDocument(f"{url} answered {status}, not a plain 200")
    return document


def _trust(url: str) -> ssl.SSLContext | bool:
    """The default trusted authorities; for plain http, which only loopback may use, an empty context: no TLS is used
    there, and loading the authorities takes 20 ms and 2 MiB."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if url.startswith("http://") else True
