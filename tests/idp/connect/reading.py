"""The page /connect as a person reads it: for each app, what to copy and what to open."""

from dataclasses import dataclass, field
from html.parser import HTMLParser


@dataclass
class App:
    """One app's section of the page."""

    name: str = ""
    copied: list[str] = field(default_factory=list)
    buttons: int = 0
    links: list[str] = field(default_factory=list)
    warned: bool = False
    words: str = ""


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.apps: dict[str, App] = {}
        self._app: App | None = None
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "details":
            self._app = App()
        if self._app is None:
            return
        if tag == "div" and "id" in given:
            self.apps[given["id"]] = self._app
        if tag == "pre":
            self._app.copied.append("")
        self._app.buttons += "data-copy" in given
        self._app.warned |= "warn" in given.get("class", "").split()
        if tag == "a":
            self._app.links.append(given["href"])
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""
        if tag == "details":
            self._app = None

    def handle_data(self, data: str) -> None:
        if self._app is None:
            return
        self._app.words += data
        if self._inside == "pre":
            self._app.copied[-1] += data
        if self._inside == "h2":
            self._app.name += data


def apps_of(page: str) -> dict[str, App]:
    """Every app on the page, by its fragment."""
    reader = _Reader()
    reader.feed(page)
    return reader.apps
