"""Everything that the operators' pages name exists: every command and option, setting, file and heading."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from gatepost_idp.__main__ import cli
from gatepost_idp.settings import Settings
from gatepost_resource.settings import Settings as ResourceSettings
from tests.support.processes import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "security").glob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
OTHERS = {
    "DOMAIN", "PORT", "HTTPS_PROXY", "SSL_CERT_FILE", "GATEPOST_TORTURE", "GATEPOST_NO_SKIPS", "PATH",
    "BACKEND_URL",
}  # fmt: skip  # read by other programs, by compose.yaml, an example or the tests
_COMMAND = re.compile(r"(?:^|`|\$ |bin/|^  )gatepost ((?:[^`\n#|;&]|\\\n)+)", re.MULTILINE)
_SETTING = re.compile(r"\b([A-Z][A-Z0-9]+(?:_[A-Z0-9]+)+|WORKERS|SIGNUP|CATALOGUE)\b=")
_LINK = re.compile(r"\]\(([^)#\s]+)(#[\w.-]+)?\)")


def commands(text: str) -> Iterator[list[str]]:
    """The words after ``gatepost``, of every command that a page names; a list of names stands for each of them."""
    for found in _COMMAND.findall(text):
        words = found.replace("\\\n", " ").split()
        if words and re.fullmatch(r"[a-z][a-z/]*[.,:)]?", words[0]):
            yield [word.rstrip(".,:)") for word in words]


def problem(words: list[str]) -> str:
    """The part of a command line that does not exist; empty if all of it does."""
    at: Any = typer.main.get_command(cli)
    for word in words:
        inner = getattr(at, "commands", None)
        if inner is not None and "/" in word:
            return ", ".join(name for name in word.split("/") if name not in inner)
        if inner is not None and word not in inner:
            return word if re.fullmatch(r"[a-z]+", word) else ""
        if inner is not None:
            at = inner[word]
        elif word.startswith("--") and word.partition("=")[0] not in options(at):
            return word
    return ""


def options(command: Any) -> set[str]:
    """Its options, including the --no- forms."""
    return {"--", "--help"} | {name for one in command.params for name in (*one.opts, *one.secondary_opts)}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_exists(page: Path) -> None:
    """With its options: nobody should find out at three in the morning that a command was renamed."""
    wrong = {" ".join(words): what for words in commands(page.read_text()) if (what := problem(words))}
    assert wrong == {}


def test_commands_of_others_are_not_taken_for_ours() -> None:
    """The check itself works: it finds the runbook's commands, and refuses ones that do not exist."""
    found = [" ".join(words) for words in commands((ROOT / "docs" / "runbook.md").read_text())]
    for line in ("db upgrade", "keys rotate", "demo --public https://SOME-WORDS.trycloudflare.com"):
        assert any(words.startswith(line) for words in found), line
    assert problem(["keys", "turn"]) == "turn"
    assert problem(["clients", "add", "NAME", "--nothing"]) == "--nothing"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_setting_exists(page: Path) -> None:
    """Every name given a value is a setting of one of the servers, or its _FILE form."""
    known = {name.upper() for name in {*Settings.model_fields, *ResourceSettings.model_fields}} | OTHERS
    wrong = {name for name in _SETTING.findall(page.read_text()) if name.removesuffix("_FILE") not in known}
    assert wrong == set()


def test_every_setting_is_in_the_readme_or_the_runbook() -> None:
    """Every setting is documented where operators look."""
    told = "".join((ROOT / page).read_text() for page in ("README.md", "docs/runbook.md"))
    names = {name.upper() for name in {*Settings.model_fields, *ResourceSettings.model_fields}}
    assert {name for name in names if f"`{name}`" not in told and f"{name}=" not in told} == set()


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_link_leads_somewhere(page: Path) -> None:
    """For files of this repository; links to the Internet are not fetched."""
    targets = [target for target, _ in _LINK.findall(page.read_text()) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_alerts_name_commands_that_exist() -> None:
    """The action is what a person on call reads first."""
    groups = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())["groups"]
    actions = [rule["annotations"]["action"] for group in groups for rule in group["rules"]]
    for action in actions:
        for words in commands(action.replace("; gatepost ", "\ngatepost ").replace(": gatepost ", "\ngatepost ")):
            named = [word for word in words[:2] if re.fullmatch(r"[a-z]+", word)]
            assert not problem(named[:1]), action
