"""All traits by name, and how a person chooses among them."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path

from chatlab.emulator.traits.eventual_consistency import (
    BusyBucketName,
    LateMetrics,
    LatePolicy,
    LateTags,
    NewRole,
    StaleLists,
)
from chatlab.emulator.traits.faults import Faults, LostAnswers, MessageFaults
from chatlab.emulator.traits.latency import Delay, Slow
from chatlab.emulator.traits.price_list import PriceList
from chatlab.emulator.traits.public_access import NoPublicBuckets
from chatlab.emulator.traits.throttling import Concurrency, ConnectionsRate, ConnectRate, ControlPlaneRate, StageLimits
from chatlab.emulator.traits.trait import Trait

TRAITS: dict[str, Callable[..., Trait]] = {
    "delay": Delay,
    "control-plane-rate": ControlPlaneRate,
    "new-role": NewRole,
    "late-policy": LatePolicy,
    "late-tags": LateTags,
    "stale-lists": StaleLists,
    "busy-bucket-name": BusyBucketName,
    "connections-rate": ConnectionsRate,
    "connect-rate": ConnectRate,
    "concurrency": Concurrency,
    "price-list": PriceList,
    "late-metrics": LateMetrics,
    "stage-limits": StageLimits,
    "no-public-buckets": NoPublicBuckets,
    "faults": Faults,
    "lost-answers": LostAnswers,
    "slow": Slow,
    "message-faults": MessageFaults,
}
"""All traits, by name."""

NOT_IN_ALL = frozenset({"no-public-buckets", "faults", "lost-answers", "slow", "message-faults"})
"""Those that "all" leaves out: they change what can be done at all, or are of a bad day."""


def parse_traits(text: str) -> dict[str, float | None]:
    """The traits that `text` names, each with its number, or None for the usual one.

    They are names with commas between, as in "delay,stale-lists=30"; "all" is all but those of NOT_IN_ALL, and "" is
    none. "@/a/file" means the traits that this file names.
    Raises ValueError for a name that is no trait's, for a number that is none or that the trait does not take, and for
    a file that can't be read.
    """
    found: dict[str, float | None] = {}
    if file := traits_file(text):
        try:
            text = file.read_text().strip()
        except (OSError, ValueError) as error:
            raise ValueError(f"The file {file} can't be read: {error}.") from None
    for word in filter(None, text.split(",")):
        name, equals, value = word.partition("=")
        if name == "all" and not equals:
            found |= {trait: None for trait in TRAITS if trait not in NOT_IN_ALL and trait not in found}
        elif name not in TRAITS:
            raise ValueError(f"There is no trait {name}: the traits are {', '.join(TRAITS)}.")
        elif not equals:
            found[name] = None
        elif not inspect.signature(TRAITS[name]).parameters:
            raise ValueError(f"The trait {name} takes no number.")
        elif not re.fullmatch(r"\d+(\.\d+)?", value):
            raise ValueError(f'The trait {name} takes a number, and "{value}" is none.')
        else:
            found[name] = float(value)
    return {name: found[name] for name in TRAITS if name in found}


def make_traits(text: str) -> list[Trait]:
    """The traits themselves. Raises what `parse_traits` does."""
    return [TRAITS[name]() if value is None else TRAITS[name](value) for name, value in parse_traits(text).items()]


def traits_file(text: str) -> Path | None:
    """The file that "@/a/file" means; None if the text names the traits itself."""
    return Path(text[1:]) if text.startswith("@") else None
