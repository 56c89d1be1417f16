"""Checks whether the settings load, and whether files with secrets are unreadable for others."""

import stat
from pathlib import Path

from gatepost_idp.operate.doctor.finding import Check, Fault, Finding
from gatepost_idp.operate.doctor.inside.installation import Installation
from gatepost_idp.settings import EXAMPLES, SettingsError, secret_files

SETTING_WRONG = Fault(
    "setting-wrong",
    "A server exits at start with one line.",
    "a value that the servers accept",
    "the setting that the line names",
    "README.md has the list of settings",
)
KEY_FILE_OPEN = Fault(
    "key-file-open",
    "The server exits at start with a line about SECRET_KEY.",
    "a file that only its owner can read (mode 0600)",
    "SECRET_KEY",
    "chmod 600 var/secret_key",
)
SECRET_FILE_OPEN = Fault(
    "secret-file-open",
    "Nothing yet, but anyone with an account on the machine can read or replace a secret.",
    "a file that only its owner and group can read",
    "NAME_FILE",
    "chmod 640 /etc/gatepost/smtp_password",
    "warning",
)
DATABASE_FILE_OPEN = Fault(
    "database-file-open",
    "Nothing yet, but anyone with an account on the machine can read people's addresses.",
    "a SQLite file that only its owner and group can read, as new ones are",
    "DATABASE_URL",
    "chmod 600 var/gatepost.db*",
    "warning",
)
# Container runtimes mount secrets readable for everyone inside the container, where there is nobody else.
_MOUNTED = "/run/secrets/"


async def _settings(installation: Installation) -> list[Finding]:
    try:
        _ = installation.settings
    except SettingsError as wrong:
        name = str(wrong).partition(":")[0]
        example = f"{name}={EXAMPLES[name]}" if name in EXAMPLES else ""
        return [SETTING_WRONG.seen(str(wrong), setting=name, example=example)]
    return []


async def _files(installation: Installation) -> list[Finding]:
    kept = installation.settings.secret_key_path
    found = []
    if not installation.settings.secret_key and _mode(kept) & 0o077:
        found.append(KEY_FILE_OPEN.seen(f"{kept} has mode {_mode(kept):04o}", example=f"chmod 600 {kept}"))
    database = installation.settings.sqlite_path
    if installation.settings.is_sqlite and _mode(database) & 0o007:
        seen = f"{database} has mode {_mode(database):04o}"
        found.append(DATABASE_FILE_OPEN.seen(seen, example=f"chmod 600 {database}*"))
    for name, path in secret_files().items():
        mode = _mode(path)
        if mode & 0o002 or (mode & 0o004 and not str(path).startswith(_MOUNTED)):
            seen = f"{path} has mode {mode:04o}"
            found.append(SECRET_FILE_OPEN.seen(seen, setting=name, example=f"chmod 640 {path}"))
    return found


def _mode(path: Path) -> int:
    """The file's permission bits; 0 if there is no such file."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return 0


SETTINGS = Check("settings", "Settings", _settings, (SETTING_WRONG,))
FILES = Check(
    "files", "Files that hold secrets", _files, (KEY_FILE_OPEN, SECRET_FILE_OPEN, DATABASE_FILE_OPEN), ("settings",)
)
