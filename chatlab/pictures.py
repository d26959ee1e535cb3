"""Renew the pictures at the notebooks' heads, `docs/architecture.svg` with a part lit: `python -m chatlab.pictures`."""

import re
import sys
from pathlib import Path

from chatlab.paths import ROOT

SOURCE = ROOT / "docs" / "architecture.svg"
PICTURES = ROOT / "docs" / "pictures"

LIT = {
    "00": ("Nothing is built yet: all parts of the chat are outlines.", ()),
    "01": ("The table of connection ids, in DynamoDB, is lit.", ("table",)),
    "02": (
        "The functions' role is lit, and what it lets them do with the table: put, delete, scan.",
        ("role", "access"),
    ),
    "03": ("The three Lambda functions are lit.", ("functions",)),
    "04": (
        "The API is lit: its routes, the functions that it calls, and the posts to every connection.",
        ("api", "websocket", "invocations", "fan-out"),
    ),
    "05": ("The page in its S3 bucket is lit, and the browsers that load it.", ("page", "browsers")),
    "06": (
        "Locust's users are lit beside the browsers, and the fan-out, which they measure.",
        ("load-test", "websocket", "fan-out"),
    ),
    "07": (
        "Locust's users, the fan-out and the table are lit: what grows with the number of people.",
        ("load-test", "fan-out", "shards", "table"),
    ),
    "08": (
        "The functions and the table are lit: the table has an index of rooms now.",
        ("functions", "access", "table", "rooms"),
    ),
    "99": ("Page, API, functions and table are crossed out.", ("crosses",)),
}
"""By a notebook's number: what its picture says to whoever can't see it, and the groups of the source that are lit.

The text is the picture's title, and its alternative text in the notebook.
"""


def draw(number: str, source: str) -> str:
    """The SVG `source` for the notebook with this number: its part lit, the others dimmed, or all but outlined.

    Raises ValueError if the source has no such group.
    """
    description, parts = LIT[number]
    picture = re.sub(r"(<title[^>]*>)[^<]*", rf"\g<1>{description}", source, count=1)
    picture = re.sub(r"  <!--.*-->\n", "", picture)
    for part in parts:
        before = f'<g id="{part}" class="part'
        if before not in picture:
            raise ValueError(f"{SOURCE.name} has no part {part}")
        picture = picture.replace(before, f"{before} lit")
    return picture.replace("<svg ", f'<svg class="{"one-part" if parts else "plan"}" ', 1)


def path(number: str) -> Path:
    """Where the picture of the notebook with this number is."""
    return PICTURES / f"architecture-{number}.svg"


def main() -> int:
    """Write all pictures; the exit status."""
    source = SOURCE.read_text()
    PICTURES.mkdir(exist_ok=True)
    for number in LIT:
        path(number).write_text(draw(number, source))
    return 0


if __name__ == "__main__":
    sys.exit(main())
