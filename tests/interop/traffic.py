"""What programs requested from both servers, according to the servers' own logs."""

import json

from tests.support.processes import Deployment, Server


class Traffic:
    """Requests since its creation or the last ``forget``. A line is written after its answer is sent."""

    def __init__(self, deployment: Deployment) -> None:
        self._servers = (deployment.idp, deployment.resource)
        self._seen = [len(server.logged().splitlines()) for server in self._servers]

    def statuses(self, method: str, path: str) -> list[object]:
        """The status of each request with that method and path, in order."""
        found: list[object] = []
        for number, server in enumerate(self._servers):
            lines = _lines(server, self._seen[number])
            found += [line["status"] for line in lines if (line.get("method"), line.get("path")) == (method, path)]
        return found

    def forget(self) -> None:
        """Counts from now on."""
        self._seen = [len(server.logged().splitlines()) for server in self._servers]


def _lines(server: Server, start: int) -> list[dict[str, object]]:
    return [json.loads(line) for line in server.logged().splitlines()[start:] if line.startswith("{")]
