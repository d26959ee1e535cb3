"""The labs that are open, so that none is forgotten: which ones this folder made and has not seen empty since.

One file a lab, written before its first resource, and removed when its inventory is empty. It says where to look, and
never what is there: that, AWS is asked each time.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from chatlab import local_cloud
from chatlab.errors import LabError
from chatlab.paths import ensure_writable, state_dir, write_atomically
from chatlab.settings import Settings

CURRENT_FILE = "lab.json"


@dataclass(frozen=True)
class Entry:
    """An open lab."""

    settings: Settings
    place: str
    """What tells one AWS account, or one local cloud, from another: see `place`."""
    since: str
    """When it was written: UTC, as in 2026-11-25T10:00:00Z."""
    hours: float | None = None
    """After how many hours notebook 04 is to let AWS remove the stage; None for never."""

    def __str__(self):
        return f"{self.settings}, since {self.since}: `{self.settings.make_command('down')}` removes it"


def record(lab, hours=None):
    """Write the entry of `lab`, unless there is one, and make it the lab that the other notebooks take."""
    entry = Entry(settings_of(lab), place(lab), f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", hours)
    path = _path(entry)
    ensure_writable(path.parent)
    if lab.target == "local":  # those of a local cloud that died are gone with it
        for other in path.parent.glob("local.*.json"):
            if _read(other).place != entry.place:
                other.unlink()
    if not path.exists():
        _write(path, entry)
    _write(state_dir() / CURRENT_FILE, entry)


def remove(lab):
    """Remove the entry of `lab`, whose inventory is empty."""
    _path(Entry(settings_of(lab), place(lab), "")).unlink(missing_ok=True)


def entries():
    """The Entries of all open labs, without those of a local cloud that is no more."""
    found = [_read(path) for path in sorted(_folder().glob("*.json"))]
    cloud = _local_place()
    return [entry for entry in found if entry.settings.target == "aws" or entry.place == cloud]


def find(**wanted):
    """The Entries of the open lab with these settings (target, name, region, profile), where None fits any.

    They are several if it is in several AWS accounts, and none if there is none. Raises LabError if several labs fit.
    """
    found = [
        entry
        for entry in entries()
        if all(value is None or getattr(entry.settings, key) == value for key, value in wanted.items())
    ]
    if len({entry.settings for entry in found}) > 1:
        raise LabError("\n".join(["Several labs are open: say which one.", *(f"  {entry}" for entry in found)]))
    return found


def current():
    """The Entry that notebook 00 wrote last, open or not; None without one. Raises LabError if it can't be read."""
    path = state_dir() / CURRENT_FILE
    return _read(path) if path.exists() else None


def lifetime_hours():
    """After how many hours AWS is to remove the stage of the lab that notebook 00 chose; None for never."""
    entry = current()
    return entry.hours if entry else None


def require_same_account(lab, written):
    """Raises LabError if `lab` was written down (a list of Entries) for other accounts than the credentials are for."""
    if lab.target == "aws" and written and place(lab) not in {entry.place for entry in written}:
        raise LabError(
            f"{lab} was made in another AWS account than the one that your credentials are for now. Nothing was "
            "changed. Use the credentials or the PROFILE= with which it was made."
        )


def place(lab):
    """A digest of the AWS account's id, or which local cloud it is. Raises LabError without credentials."""
    if lab.target == "local":
        return _local_place()
    return hashlib.sha256(f"chatlab/{lab.account_id}".encode()).hexdigest()[:12]


def settings_of(lab):
    """The Settings of a lab alone."""
    return Settings(*(getattr(lab, field.name) for field in fields(Settings)))


def _local_place():
    state = local_cloud.status()
    return f"local cloud {state['pid']}" if state["running"] else "no local cloud"


def _folder():
    """`CHATLAB_LEDGER` names another one: a run on AWS has a home of its own, but what it leaves is everybody's."""
    return Path(os.environ.get("CHATLAB_LEDGER") or state_dir() / "labs")


def _path(entry):
    words = (entry.settings.target, entry.settings.name, entry.settings.region, entry.place.replace(" ", "-"))
    return _folder() / f"{'.'.join(words)}.json"


def _write(path, entry):
    about = {"place": entry.place, "since": entry.since, "hours": entry.hours}
    write_atomically(path, json.dumps(asdict(entry.settings) | about) + "\n")


def _read(path):
    try:
        values = json.loads(path.read_text())
        settings = Settings(*(values[field.name] for field in fields(Settings)))
        return Entry(settings, values["place"], values["since"], values.get("hours"))
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise LabError(f"{path} can't be read: delete it, and run notebook 00_start again.") from None
