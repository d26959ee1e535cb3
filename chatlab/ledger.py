"""The labs that are open, so that none is forgotten: which ones this folder made and has not seen empty since.

One file a lab, written before its first resource is created, and removed when its inventory is empty. It says where to
look, and never what is there: that, AWS is asked each time.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from chatlab import local_cloud
from chatlab.errors import LabError
from chatlab.paths import ensure_writable, state_dir, write_atomically
from chatlab.settings import Settings, Variable

CURRENT_FILE = "lab.json"


class Openable(Protocol):
    """What is written down of a lab: a Lab has it."""

    @property
    def settings(self) -> Settings: ...

    @property
    def account_id(self) -> str: ...


@dataclass(frozen=True)
class Entry:
    """An open lab."""

    settings: Settings
    place: str
    """What tells one AWS account, or one local cloud, from another: see `place`."""
    since: str
    """When it was written: UTC, as in 2026-11-25T10:00:00Z."""
    hours: float | None = None
    """After how many hours AWS is to remove the stage; None for never."""

    def __str__(self) -> str:
        return f"{self.settings}, since {self.since}: `{self.settings.make_command('down')}` removes it"


def record(lab: Openable, hours: float | None = None) -> None:
    """Write the entry of `lab`, unless there is one, and make it the current one, which the other notebooks take."""
    entry = Entry(lab.settings, place(lab), f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", hours)
    path = _path(entry)
    ensure_writable(path.parent)
    if lab.settings.target == "local":  # the labs of a local cloud that died have gone with it
        for other in path.parent.glob("local.*.json"):
            if _read(other).place != entry.place:
                other.unlink()
    if not path.exists():
        _write(path, entry)
    _write(state_dir() / CURRENT_FILE, entry)


def remove(lab: Openable) -> None:
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

    There are several if it is in several AWS accounts, and none if no lab fits. Raises LabError if several labs fit.
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


def lifetime_hours() -> float | None:
    """After how many hours AWS is to remove the stage of the lab that notebook 00 chose; None for never."""
    entry = current()
    return entry.hours if entry else None


def require_same_account(lab: Openable, known: list[Entry]) -> None:
    """Raises LabError if all entries in `known` are of other AWS accounts than the credentials are for."""
    if lab.settings.target == "aws" and known and place(lab) not in {entry.place for entry in known}:
        raise LabError(
            f"{lab.settings} was made in another AWS account than the one that your credentials are for now. Nothing "
            "was changed. Use the credentials or the PROFILE= with which it was made."
        )


def place(lab: Openable) -> str:
    """A digest of the AWS account's id, or which local cloud it is. Raises LabError without credentials."""
    if lab.settings.target == "local":
        return _local_place()
    return hashlib.sha256(f"chatlab/{lab.account_id}".encode()).hexdigest()[:12]


def _local_place() -> str:
    status = local_cloud.status()
    return f"local cloud {status['pid']}" if status["running"] else "no local cloud"


def _folder() -> Path:
    """`CHATLAB_LEDGER` names another one: a run on AWS has a state of its own, but you are to know what it leaves."""
    return Variable.LEDGER.path() or state_dir() / "labs"


def _path(entry: Entry) -> Path:
    words = (entry.settings.target, entry.settings.name, entry.settings.region, entry.place.replace(" ", "-"))
    return _folder() / f"{'.'.join(words)}.json"


def _write(path: Path, entry: Entry) -> None:
    about = {"place": entry.place, "since": entry.since, "hours": entry.hours}
    write_atomically(path, json.dumps(asdict(entry.settings) | about) + "\n")


def _read(path: Path) -> Entry:
    try:
        values = json.loads(path.read_text())
        settings = Settings(*(values[field.name] for field in fields(Settings)))
        return Entry(settings, values["place"], values["since"], values.get("hours"))
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise LabError(f"{path} can't be read: delete it, and run notebook 00_start again.") from None
