"""The pictures at the notebooks' heads: `docs/architecture.svg` with a part lit."""

import json
import re
from collections.abc import Sequence

from chatlab.paths import NOTEBOOKS, ROOT

SOURCE = ROOT / "docs" / "architecture.svg"
PICTURES = ROOT / "docs" / "pictures"

LIT = {
    "00": [],
    "01": ["table"],
    "02": ["role", "access"],
    "03": ["functions"],
    "04": ["api", "websocket", "invocations", "fan-out"],
    "05": ["page", "browsers"],
    "06": ["load-test", "websocket", "fan-out"],
    "07": ["load-test", "functions", "fan-out"],
    "08": ["load-test", "fan-out", "shards", "table"],
    "09": ["functions", "access", "table", "rooms"],
    "10": ["load-test", "websocket", "api"],
    "11": ["load-test", "websocket", "fan-out"],
    "99": ["crosses"],
}
"""The groups of the source that a notebook's picture lights, by the notebook's number."""


def draw(number: str) -> str:
    """The picture of the notebook with this number, as SVG: its parts lit, the others dimmed, or all but outlined.

    Its title is its alternative text in the notebook. Raises ValueError if the notebook does not show it, or if the
    source has no such part.
    """
    (notebook,) = NOTEBOOKS.glob(f"{number}_*.ipynb")
    text = "\n".join("".join(cell["source"]) for cell in json.loads(notebook.read_text())["cells"])
    description = re.search(rf"!\[(.*)\]\(\.\./docs/pictures/architecture-{number}\.svg\)", text)
    if not description:
        raise ValueError(f"{notebook.name} does not show its picture")
    picture = re.sub(r"(<title[^>]*>)[^<]*", rf"\g<1>{description[1]}", SOURCE.read_text(), count=1)
    picture = re.sub(r"  <!--.*-->\n", "", picture)
    for part in LIT[number]:
        before = f'<g id="{part}" class="part'
        if before not in picture:
            raise ValueError(f"{SOURCE.name} has no part {part}")
        picture = picture.replace(before, f"{before} lit")
    return picture.replace("<svg ", f'<svg class="{"one-part" if LIT[number] else "plan"}" ', 1)


def main(arguments: Sequence[str]) -> None:
    """Renew all pictures."""
    for number in LIT:
        (PICTURES / f"architecture-{number}.svg").write_text(draw(number))
