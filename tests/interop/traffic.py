"""What programs asked of both servers, as the servers' own logs say it."""

import json

from tests.support.processes import Deployment, Server


class Traffic:
    """Requests since it was made, or last looked at. A line is written after its answer is out."""

    def __init__(self, deployment: Deployment) -> None:
        self._servers = (deployment.idp, deployment.resource)
        self._seen = [len(server.logged().splitlines()) for server in self._servers]

    def statuses(self, method: str, path: str) -> list[object]:
        """How each request of that method and path was answered, in order."""
        found: list[object] = []
        for number, server in enumerate(self._servers):
            lines = _lines(server, self._seen[number])
            found += [line["status"] for line in lines if (line.get("method"), line.get("path")) == (method, path)]
        return found

    def forget(self) -> None:
        """Looks from now on."""
        self._seen = [len(server.logged().splitlines()) for server in self._servers]


def _lines(server: Server, start: int) -> list[dict[str, object]]:
    return [json.loads(line) for line in server.logged().splitlines()[start:] if line.startswith("{")]
