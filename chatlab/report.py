"""What a run leaves behind for a reader: `summary.json`, and `report.html`, which opens by itself."""

import base64
import json
import os
import platform
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from jinja2 import Template
from PIL import Image

from chatlab import cost, paths, record
from chatlab.cost import PRICES
from chatlab.privacy import redact, redact_values
from loadtest.intervals import sufficient_groups
from loadtest.verdict import MIN_BROADCASTS

Summary = dict[str, Any]  # JSON: its parts are those of `chatlab.cli.run`

MANY_PEOPLE = 10_000
"""The conclusion says what a message a second costs with as many people as were measured, and with this many."""
PACKAGES = ("locust", "boto3", "ministack", "websocket-client")
SHARES = {"p50": "half", "p90": "9 of 10", "p99": "99 of 100"}
MEASURED = ("load_test/*.*", "faster/*.json", "faster/*/*.*", "growth/*.*", "capacity/*.json")
RAW_DATA = ("summary.json", *MEASURED, record.FILE)
TESTS = {
    "6": "the load test of the obvious broadcast",
    "7": "the faster broadcasts, each by the same load test",
    "8": "how it grows, and how far it goes",
}
"""What each notebook that draws has measured, by the number with which the files of its plots begin."""
FIRST = ("ripple", "waterfall", "capacity")
"""The first of these plots is at the top of the page."""
FOLDED = ("completeness", "timeline", "harness lag")
"""These plots are about the measurement, and folded."""


def describe_machine() -> dict[str, str]:
    """What a reader has to know of this machine to compare figures. Names neither the machine nor its user."""
    processor = platform.processor() or "unknown"
    with suppress(OSError):  # where there is no Linux
        models = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
        processor = models[1] if models else processor
    release = platform.release().partition("-")[0]  # the rest names a provider, or who built it
    return {
        "processor": f"{processor}, {os.cpu_count()} cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GB",
        "system": f"{platform.system()} {release}, {platform.machine()}",
        "Python": platform.python_version(),
        "packages": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
    }


def write(folder: Path, summary: Summary) -> None:
    """Write `summary`, redacted, as JSON and as a page that contains the run's plots."""
    summary = redact_values(summary)
    fanout = summary["fanout"]
    paths.write_atomically(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
    found = [path for pattern in RAW_DATA for path in sorted(folder.glob(pattern)) if path.name != "progress.json"]
    figures = [_figure(path) for path in sorted(folder.glob("plots/*.png"))]
    first = next((each for name in FIRST for each in figures if each["name"] == name), None)
    others = [each for each in figures if each is not first]
    text = (paths.ROOT / "chatlab" / "report.html.jinja").read_text()
    page = Template(text, autoescape=True, trim_blocks=True, lstrip_blocks=True).render(
        run=folder.name,
        summary=summary,
        conclusion=conclude(summary),
        trust=_trust(summary),
        unknown=list(_unknown(summary)),
        quantiles=list(_quantiles(fanout)) if fanout else [],
        first=first,
        tests={test: [each for each in others if each["test"] == test and not each["folded"]] for test in TESTS},
        folded=[each for each in others if each["folded"] or each["test"] not in TESTS],
        about=TESTS,
        files=[path.relative_to(folder).as_posix() for path in found],
    )
    paths.write_atomically(folder / "report.html", page)


def conclude(summary: Summary) -> list[str]:
    """What a run has found, in a few sentences: how many people, how fast, how complete, at what price."""
    fanout, story = summary["fanout"], summary.get("faster")
    found: list[str] = summary["capacity"]["sentences"] if summary.get("capacity") else []
    if story:
        found = [*found, f"The obvious broadcast reached everybody within {_sooner(story)}."]
    if not fanout:
        return found or ["The fan-out was not measured."]
    return [*found, *_how_fast(fanout, bool(story)), _how_complete(fanout), _what_it_costs(fanout["connections"])]


def _sooner(story: Summary, time: Callable[[float], str] = lambda ms: f"{ms:,.0f} ms") -> str:
    """How long the obvious and the deployed broadcast took to reach everybody, and how they compare."""
    before, after = (story["variants"].get(name, {}).get("last_p50_ms") for name in ("obvious", "event loop"))
    found = "a time that is not known" if before is None else time(before)
    if None in (before, after) or not story.get("times_sooner"):
        return found
    factor, low, high = story["times_sooner"]
    ends = "" if None in (low, high) else f" ({low:.1f} to {high:.1f})"
    sooner = f"{factor:.1f} times sooner{ends}"
    if low is not None and low <= 1:
        sooner = f"{1 / factor:.1f} times later" if high < 1 else f"a difference that may be noise{ends}"
    return f"{found}; as deployed now: {time(after)}, {sooner}"


def _how_fast(fanout: Summary, is_said: bool) -> Iterator[str]:
    """When all had heard a message, unless that is said already, and when parts of them had."""
    latency, last = fanout["latency_ms"], fanout["last_delivery_ms"]["p50"]
    if last is None or latency["p50"] is None:
        yield "No message was delivered."
        return
    broadcasts, everybody = f"{fanout['broadcasts']:,} broadcasts", f"{fanout['connections']:,} connections"
    if not is_said:
        yield f"A message reached all {everybody} within {last:,.0f} ms (median of {broadcasts})."
    sure = [name for name in SHARES if name not in fanout["verdict"]["uncertain"]]
    if shares := ", ".join(f"{SHARES[name]} within {latency[name]:,.0f} ms" for name in sure):
        yield f"Of the deliveries in notebook 06 ({broadcasts} to {everybody}), {shares}."


def _how_complete(fanout: Summary) -> str:
    expected, delivered = fanout["expected"], fanout["delivered"]
    if delivered == expected and not fanout["duplicate"]:
        return f"All {expected:,} deliveries arrived, each of them once."
    return f"Of {expected:,} deliveries {delivered:,} arrived, and {fanout['duplicate']:,} came twice."


def _what_it_costs(connections: int) -> str:
    rooms = (connections, MANY_PEOPLE)
    here, many = (f"{cost.estimate(room, broadcasts=3600, minutes=60).dollars:,.2f}" for room in rooms)
    return (
        f"On AWS, a message a second would cost {here} US dollars an hour with {connections:,} people, and {many} with "
        f"{MANY_PEOPLE:,} (computed from {PRICES}, without the free tier)."
    )


def _trust(summary: Summary) -> tuple[str, str]:
    """Whether you can trust the figures: "yes", "not yet", "no" or "" (there are none), and a sentence."""
    fanout = summary["fanout"]
    if not fanout:
        return "yes" if summary.get("capacity") else "", ""  # the search judges each of its steps
    failed = {check["check"]: check["message"] for check in fanout["verdict"]["checks"] if not check["ok"]}
    more = MIN_BROADCASTS - fanout["broadcasts"]
    if failed and failed.keys() <= {"samples", "settled"} and more > 0:
        return "not yet", f"Can you trust these figures? Not yet: {more} more broadcasts would be enough for a median."
    if failed:
        return "no", f"Do not rely on these figures. {next(iter(failed.values()))}"
    return "yes", "You can trust these figures: the measurement checks itself, and all is well."


def _unknown(summary: Summary) -> Iterator[str]:
    """What this run can't say, a sentence each."""
    if summary["target"] == "local":
        yield (
            "How fast AWS is. An emulator shows that every delivery arrives, and how the designs compare. AWS's "
            "network, its limits and its cold starts are not here."
        )
    if fanout := summary["fanout"]:
        for name in fanout["verdict"]["uncertain"]:
            if (more := sufficient_groups(float(name[1:]) / 100) - fanout["broadcasts"]) > 0:
                heard = f"Within what time {SHARES[name]} have heard it ({name})"
                yield f"{heard}: not yet, {more} more broadcasts would be enough."
    if not summary["notebooks"]:
        return
    if not summary.get("faster"):
        yield "How much sooner a message arrives with the faster broadcasts: notebook 07 has not measured them."
    if summary["leftovers"] is None:
        yield "Whether anything is left in the cloud."


def _quantiles(fanout: Summary) -> Iterator[tuple[str, str, str]]:
    """Rows of a table: what, its value, its interval."""
    for title, key in (("one delivery", "latency_ms"), ("the last delivery", "last_delivery_ms")):
        for name, value in fanout[key].items():
            low, high = fanout["interval_95"][key].get(name, (None, None))
            sure = "" if name == "max" else "too few broadcasts" if None in (low, high) else f"{low:.1f} to {high:.1f}"
            yield f"{title}, {name}", _known(fanout, key, name, value), sure


def _known(fanout: Summary, key: str, name: str, value: float | None) -> str:
    """A quantile, or what is known of it where there are too few broadcasts for an interval."""
    if value is None:
        return "not measured"
    low, high = fanout["interval_95"][key].get(name, (value, value))  # the largest one has no interval, and needs none
    if None not in (low, high):
        return f"{value:,.1f} ms"
    return "not known" if low is None else f"at least {low:,.1f} ms"


def _figure(path: Path) -> dict[str, Any]:
    """A plot as `loadtest.plots` saves it, with what it says of itself, and the animation of the same name."""
    with Image.open(path) as image:
        texts = {key: str(value) for key, value in image.info.items()}
    animation = path.with_suffix(".gif")
    name = (path.stem.partition(" ")[2] or path.stem).replace("_", " ")
    return {
        "name": name,
        "test": path.stem.partition("-")[0],
        "finding": texts.get("Title") or name.capitalize(),
        "kind": texts.get("Source", "measured"),  # or computed
        "text": texts.get("Description", ""),
        "folded": name in FOLDED,
        "png": base64.b64encode(path.read_bytes()).decode(),
        "animation": base64.b64encode(animation.read_bytes()).decode() if animation.exists() else "",
    }


def lines(summary: Summary, folder: Path) -> Iterator[str]:
    """The same as lines of text, for the terminal."""
    yield "Notebooks"
    for notebook in summary["notebooks"]:
        yield f"  {notebook['name']:<24} {notebook['seconds']:>6.1f} s  {'ok' if notebook['ok'] else 'FAILED'}"
    if fanout := summary["fanout"]:
        yield f"Fan-out: {fanout['broadcasts']} broadcasts to {fanout['connections']} connections"
        yield (
            f"  deliveries           {fanout['expected']} expected, {fanout['delivered']} received, "
            f"{fanout['missing']} missing, {fanout['duplicate']} duplicate"
        )
        for title, key in (("latency", "latency_ms"), ("time to last one", "last_delivery_ms")):
            known = (f"{name} {_known(fanout, key, name, value)}" for name, value in fanout[key].items())
            yield f"  {title:<20} {', '.join(known)}"
        trust, sentence = _trust(summary)
        if trust != "yes":
            yield f"  {sentence}"
    else:
        yield "Fan-out: not measured"
    if story := summary.get("faster"):
        yield f"  obvious: {_sooner(story, lambda ms: f'{ms / 1000:.2f} s')}"
    leftovers = summary["leftovers"]
    yield f"Leftovers: {'not known' if leftovers is None else leftovers}"
    yield f"All of it: {folder}"
    for failure in summary["failures"]:
        yield f"FAILED: {redact(failure)}"
