"""What a run leaves behind for a reader: `summary.json`, and `report.html`, which opens by itself."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jinja2 import Template

from chatlab import paths
from chatlab.privacy import redact, redact_values

Summary = dict[str, Any]  # JSON: see the README


def write(folder: Path, summary: Summary) -> None:
    """Write `summary`, redacted, as JSON and as a page that contains the run's plots."""
    summary = redact_values(summary)
    paths.write_atomically(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
    plots = [
        (path.stem.replace("_", " "), base64.b64encode(path.read_bytes()).decode())
        for path in sorted(folder.glob("plots/*.png"))
    ]
    pages = [path.relative_to(folder).as_posix() for path in sorted(folder.glob("**/*.html")) if path.parent != folder]
    template = Template((paths.ROOT / "chatlab" / "report.html.jinja").read_text(), autoescape=True)
    page = template.render(run=folder.name, summary=summary, plots=plots, pages=pages)
    paths.write_atomically(folder / "report.html", page)


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
