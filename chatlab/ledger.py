"""The ledger of open labs, so that you forget none: this folder made them, and has not seen them empty since.

It has one file for each lab, written before the lab's first resource is created and removed when its inventory is
empty. A file says where to look, and never what is there: ask AWS each time.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from chatlab import local_cloud
from chatlab.errors import LabError
from chatlab.paths import ensure_writable, state_dir, write_atomically
from chatlab.settings import NO_OPTIONS, Options, Settings, Variable

CURRENT_FILE = "lab.json"


class Lab(Protocol):
    """What the ledger needs of `chatlab.Lab`, which imports this module."""

    settings: Settings
    options: Options

    @property
    def account_id(self) -> str: ...


@dataclass(frozen=True)
class Entry:
    """An open lab."""

    settings: Settings
    place: str
    """The AWS account or the local cloud: see `place`."""
    since: str
    """When it was written: UTC, as in 2026-11-25T10:00:00Z."""
    options: Options = NO_OPTIONS

    def __str__(self) -> str:
        return f"{self.settings}, since {self.since}: `{self.settings.make_command('down')}` removes it"


def record(lab: Lab) -> None:
    """Write the entry of `lab`, which is open since it was chosen first, and make it the current one."""
    entry = Entry(lab.settings, place(lab), f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", lab.options)
    path = _path(entry)
    ensure_writable(path.parent)
    if lab.settings.target == "local":  # the labs of a local cloud that died have gone with it
        for other in path.parent.glob("local.*.json"):
            if _read(other).place != entry.place:
                other.unlink()
    if path.exists():
        entry = replace(entry, since=_read(path).since)
    _write(path, entry)
    _write(state_dir() / CURRENT_FILE, entry)


def remove(lab: Lab) -> None:
    """Remove the entry of `lab`, whose inventory is empty."""
    _path(Entry(lab.settings, place(lab), "")).unlink(missing_ok=True)


def entries() -> list[Entry]:
    """The entries of all open labs, without those of a local cloud that has ended."""
    found = [_read(path) for path in sorted(_folder().glob("*.json"))]
    cloud = _local_place()
    return [entry for entry in found if entry.settings.target == "aws" or entry.place == cloud]


def find(
    target: str | None = None, name: str | None = None, region: str | None = None, profile: str | None = None
) -> list[Entry]:
    """The entries of the one open lab with these settings, where None fits any.

    There are several entries if the lab is in several AWS accounts, and none if no lab fits. Raises LabError if several
    labs fit.
    """
    wanted = {"target": target, "name": name, "region": region, "profile": profile}
    found = [
        entry
        for entry in entries()
        if all(value is None or getattr(entry.settings, key) == value for key, value in wanted.items())
    ]
    if len({entry.settings for entry in found}) > 1:
        raise LabError("\n".join(["Several labs are open: say which one.", *(f"  {entry}" for entry in found)]))
    return found


def current() -> Entry | None:
    """The entry that notebook 00 wrote last, open or not; None without one. Raises LabError if it can't be read."""
    path = state_dir() / CURRENT_FILE
    return _read(path) if path.exists() else None


def require_same_account(lab: Lab, known: list[Entry]) -> None:
    """Raises LabError if all entries in `known` are of other AWS accounts than the credentials are for."""
    if lab.settings.target == "aws" and known and place(lab) not in {entry.place for entry in known}:
        raise LabError(
            f"{lab} was made in another AWS account than the one that your credentials are for now. Nothing was "
            "changed. Use the credentials or the PROFILE= with which it was made."
        )


def place(lab: Lab) -> str:
    """A digest of the AWS account's id, or which local cloud it is. Raises LabError without credentials."""
    if lab.settings.target == "local":
        return _local_place()
    return hashlib.sha256(f"chatlab/{lab.account_id}".encode()).hexdigest()[:12]


def _local_place() -> str:
    status = local_cloud.status()
    return f"local cloud {status['pid']}" if status["running"] else "no local cloud"


def _folder() -> Path:
    """`CHATLAB_LEDGER` names another folder: a run on AWS has a state of its own, but you must see what it leaves."""
    return Variable.LEDGER.path() or state_dir() / "labs"


def _path(entry: Entry) -> Path:
    words = (entry.settings.target, entry.settings.name, entry.settings.region, entry.place.replace(" ", "-"))
    return _folder() / f"{'.'.join(words)}.json"


def _write(path: Path, entry: Entry) -> None:
    values = asdict(entry)
    write_atomically(path, json.dumps(values.pop("settings") | values.pop("options") | values) + "\n")


def _read(path: Path) -> Entry:
    try:
        values = json.loads(path.read_text())
        settings = Settings(*(values[field.name] for field in fields(Settings)))
        options = Options(**{field.name: values[field.name] for field in fields(Options) if field.name in values})
        return Entry(settings, values["place"], values["since"], options)
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise LabError(f"{path} can't be read: delete it, and run notebook 00_start again.") from None
