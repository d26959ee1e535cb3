"""What a run leaves behind for a reader: `summary.json`, and `report.html`, which opens by itself."""

import base64
import json
import os
import platform
import re
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from jinja2 import Template
from PIL import Image

from chatlab import cost, paths
from chatlab.cost import PRICES
from chatlab.privacy import redact, redact_values

Summary = dict[str, Any]  # JSON: see the README

MANY_PEOPLE = 10_000
"""The conclusion says what a message a second costs with as many people as were measured, and with this many."""
PACKAGES = ("locust", "boto3", "ministack", "websocket-client")
SHARES = {"p50": "half arrived", "p90": "9 of 10", "p99": "99 of 100"}
RAW_DATA = ("summary.json", "load_test/*.*", "scaling/*/*.*")


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
    plots = sorted(folder.glob("plots/*.png"), key=lambda path: (not path.with_suffix(".gif").exists(), path))
    text = (paths.ROOT / "chatlab" / "report.html.jinja").read_text()
    page = Template(text, autoescape=True, trim_blocks=True, lstrip_blocks=True).render(
        run=folder.name,
        summary=summary,
        conclusion=conclude(summary),
        trusted=fanout and fanout["verdict"]["believable"] and not summary["failures"],
        quantiles=list(_quantiles(fanout)) if fanout else [],
        figures=[_figure(path) for path in plots],
        files=[path.relative_to(folder).as_posix() for path in found],
    )
    paths.write_atomically(folder / "report.html", page)


def conclude(summary: Summary) -> list[str]:
    """What a run has found, in three sentences: how fast, how complete and how sure, at what price."""
    fanout = summary["fanout"]
    if not fanout:
        return ["The fan-out was not measured."]
    return [_how_fast(fanout), _how_complete(fanout), _what_it_costs(fanout["connections"])]


def _how_fast(fanout: Summary) -> str:
    latency, last = fanout["latency_ms"], fanout["last_delivery_ms"]["p50"]
    if last is None or latency["p50"] is None:
        return "No message was delivered."
    sure = [name for name in SHARES if name not in fanout["verdict"]["uncertain"]]
    shares = [f"{SHARES[name]} within {_ms(latency[name])}" for name in sure]
    return (
        f"A message reached all {fanout['connections']:,} connections within {_ms(last)} (median of "
        f"{fanout['broadcasts']:,} broadcasts)" + (f"; of single deliveries {', '.join(shares)}." if shares else ".")
    )


def _how_complete(fanout: Summary) -> str:
    expected, delivered = fanout["expected"], fanout["delivered"]
    what = f"Of {expected:,} deliveries {delivered:,} arrived and {fanout['duplicate']:,} came twice"
    if delivered == expected and not fanout["duplicate"]:
        what = f"All {expected:,} deliveries arrived, each of them once"
    verdict = fanout["verdict"]
    if not verdict["believable"]:
        return f"{what}, but do not rely on these figures: the measurement's check of itself has failed, see below."
    unsure = f", except {' and '.join(verdict['uncertain'])}, for which there were too few broadcasts"
    return f"{what}, and you can trust the figures{unsure if verdict['uncertain'] else ''}."


def _what_it_costs(connections: int) -> str:
    rooms = (connections, MANY_PEOPLE)
    here, many = (f"{cost.estimate(room, broadcasts=3600, minutes=60).dollars:,.2f}" for room in rooms)
    return (
        f"On AWS, a message a second would cost {here} US dollars an hour with {connections:,} people, and {many} with "
        f"{MANY_PEOPLE:,} (computed from {PRICES}, without the free tier)."
    )


def _quantiles(fanout: Summary) -> Iterator[tuple[str, str, str]]:
    """Rows of a table: what, its value, its interval."""
    for title, key in (("one delivery", "latency_ms"), ("the last delivery", "last_delivery_ms")):
        for name, value in fanout[key].items():
            low, high = fanout["interval_95"][key].get(name, (None, None))
            sure = "" if name == "max" else "too few broadcasts" if None in (low, high) else f"{low:.1f} to {high:.1f}"
            yield f"{title}, {name}", "not measured" if value is None else f"{value:,.1f}", sure


def _figure(path: Path) -> dict[str, str]:
    """A plot as `loadtest.plots` saves it, with what it says of itself, and the animation of the same name."""
    with Image.open(path) as image:
        texts = {key: str(value) for key, value in image.info.items()}
    animation = path.with_suffix(".gif")
    return {
        "name": (path.stem.partition(" ")[2] or path.stem).replace("_", " ").capitalize(),
        "kind": texts.get("Source", "measured"),  # or computed
        "text": texts.get("Description", ""),
        "png": base64.b64encode(path.read_bytes()).decode(),
        "animation": base64.b64encode(animation.read_bytes()).decode() if animation.exists() else "",
    }


def lines(summary: Summary, folder: Path) -> Iterator[str]:
    """The same as lines of text, for the terminal."""
    yield "Notebooks"
    for notebook in summary["notebooks"]:
        yield f"  {notebook['name']:<20} {notebook['seconds']:>6.1f} s  {'ok' if notebook['ok'] else 'FAILED'}"
    if fanout := summary["fanout"]:
        latency, last = fanout["latency_ms"], fanout["last_delivery_ms"]
        yield f"Fan-out: {fanout['broadcasts']} broadcasts to {fanout['connections']} connections"
        yield (
            f"  deliveries           {fanout['expected']} expected, {fanout['delivered']} received, "
            f"{fanout['missing']} missing, {fanout['duplicate']} duplicate"
        )
        yield "  latency              " + ", ".join(f"{key} {_ms(value)}" for key, value in latency.items())
        yield "  time to last one     " + ", ".join(f"{key} {_ms(value)}" for key, value in last.items())
    else:
        yield "Fan-out: not measured"
    leftovers = summary["leftovers"]
    yield f"Leftovers: {'not known' if leftovers is None else leftovers}"
    yield f"All of it: {folder}"
    for failure in summary["failures"]:
        yield f"FAILED: {redact(failure)}"


def _ms(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.1f} ms"
