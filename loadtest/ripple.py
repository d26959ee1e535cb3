"""The ripple: one broadcast to many connections as a picture that moves.

    python -m loadtest.ripple runs/…/scaling/sequential runs/…/scaling/fanout docs/pictures/ripple

Each dot is a connection. It lights up when the broadcast reaches it, by the kernel's clock, so the picture shows what
was measured and nothing else. Several results run side by side on one clock.
"""

import argparse
import base64
import html
import io
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from loadtest import results
from loadtest.errors import LoadTestError, exit_status
from loadtest.results import Result, first_copies

WIDTH = 800
MAX_RADIUS, DISC_TOP, BELOW_DISC, GAP = 168, 112, 116, 12
"""Of a disc, in pixels, and the space above it, below it, and on each side."""
FRAME_MS = 50
"""How long a frame is shown."""
LASTS_MS, END_MS = 6_000, 3_000
"""About how long it takes until all is lit, and then stays so before it begins again."""
FACTORS = tuple(step * 10.0**decade for decade in range(-2, 3) for step in (1, 2, 5))
"""How much slower than it was a picture may show it; less than 1 is faster."""
COLORS = 128
FRESH = 3
"""A new dot is brighter for this many frames."""
GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))

# The picture has a dark card of its own, so it looks the same on a light page and on a dark one. The dots' colours are
# Okabe and Ito's, which people of every colour vision can tell apart: https://jfly.uni-koeln.de/color/
CARD, DIM, TEXT, QUIET = "#14202e", "#66788a", "#ffffff", "#c3ced9"
LIT = (("#e69f00", "#ffe9b8"), ("#56b4e9", "#dbf1ff"), ("#009e73", "#b5f0dc"))
"""For each broadcast the colour of a dot, and of a fresh one."""


@dataclass(frozen=True)
class Wave:
    """One broadcast: when it reached its connections."""

    label: str
    latency_ms: NDArray[np.float64]
    """Of its deliveries, sorted, shape (delivered,)."""
    connections: int
    """How many should receive it."""

    def reached(self, at_ms: float) -> int:
        """How many connections it has reached `at_ms` milliseconds after it was due."""
        return int(np.searchsorted(self.latency_ms, at_ms, side="right"))

    @property
    def last_ms(self) -> float:
        """Its time to last delivery."""
        return float(self.latency_ms[-1])


@dataclass(frozen=True)
class Ripple:
    """Broadcasts side by side. A notebook shows it moving, or still to a reader whose system is set to less motion."""

    waves: tuple[Wave, ...]
    note: str = ""
    """A sentence for the caption, such as where this was measured."""

    @cached_property
    def slowed(self) -> float:
        """How many times slower than it was the animation is."""
        last_ms = max(wave.last_ms for wave in self.waves)
        return min(FACTORS, key=lambda factor: abs(np.log(factor * last_ms / LASTS_MS)))

    @cached_property
    def moments_ms(self) -> NDArray[np.float64]:
        """The moment that each frame shows, in milliseconds after the broadcast was due; the last one shows all."""
        step_ms = FRAME_MS / self.slowed
        return step_ms * np.arange(np.ceil(max(wave.last_ms for wave in self.waves) / step_ms) + 1)

    @cached_property
    def gif(self) -> bytes:
        """The animation. It is a second's work, and a notebook both saves and shows it."""
        # In colours that all frames share, so that from one to the next only what changes is stored.
        colors = self.frame(self.still_ms / 2).quantize(COLORS)
        first, *others = (self.frame(ms).quantize(palette=colors, dither=Image.Dither.NONE) for ms in self.moments_ms)
        durations = [*[FRAME_MS] * len(others), END_MS]
        buffer = io.BytesIO()
        first.save(buffer, "GIF", save_all=True, append_images=others, duration=durations, loop=0, optimize=True)
        return buffer.getvalue()

    @cached_property
    def png(self) -> bytes:
        """The moment at which the first of the broadcasts has reached everybody."""
        buffer = io.BytesIO()
        texts = PngImagePlugin.PngInfo()
        ends = (f"{wave.label} after {wave.last_ms:,.0f} ms" for wave in self.waves)
        texts.add_itxt("Title", f"One message reached the last person: {', '.join(ends)}")
        texts.add_itxt("Description", self.describe())
        texts.add_itxt("Source", "measured")
        self.frame(self.still_ms, fresh=0).quantize(COLORS).save(buffer, "PNG", optimize=True, pnginfo=texts)
        return buffer.getvalue()

    @property
    def still_ms(self) -> float:
        """The moment that `png` shows."""
        return min(wave.last_ms for wave in self.waves)

    def describe(self) -> str:
        """The picture in words, as its alternative text."""
        parts = [f"{wave.label}: {wave.reached(self.still_ms):,}, the last one after {wave.last_ms:,.0f} ms"
                 for wave in self.waves]  # fmt: skip
        return (
            f"A dot for each of {self.waves[0].connections:,} connections, which lights up as a broadcast reaches it. "
            f"Reached after {self.still_ms:,.0f} ms: {'; '.join(parts)}."
        )

    def save(self, path: str | Path) -> None:
        """Write the animation to `path` with `.gif` behind it, and the still picture with `.png`."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(f"{path.name}.gif").write_bytes(self.gif)
        path.with_name(f"{path.name}.png").write_bytes(self.png)

    def _repr_mimebundle_(self, **_: object) -> dict[str, object]:
        gif, png = (base64.b64encode(each).decode() for each in (self.gif, self.png))
        picture = (
            f'<picture><source media="(prefers-reduced-motion: reduce)" srcset="data:image/png;base64,{png}">'
            f'<img width="{WIDTH}" src="data:image/gif;base64,{gif}" alt="{html.escape(self.describe())}"></picture>'
        )
        return {"text/html": picture, "image/png": png, "text/plain": self.describe()}

    def frame(self, at_ms: float, fresh: int = FRESH) -> Image.Image:
        """The picture at a moment: connections that it had reached are lit, brighter in the last `fresh` frames."""
        height = DISC_TOP + 2 * self.radius + BELOW_DISC
        image = Image.new("RGB", (WIDTH, height), CARD)
        pen = ImageDraw.Draw(image)
        pen.text((24, 20), f"One message to {self.waves[0].connections:,} connections", TEXT, _font(25, bold=True))
        pen.text((WIDTH - 24, 20), f"{at_ms:,.0f} ms", TEXT, _font(25, bold=True), anchor="ra")
        label_font = self.fitting_font(max((wave.label for wave in self.waves), key=len), 19)
        for wave, (x, y), (color, fresh_color) in zip(self.waves, self.centers(), LIT, strict=False):
            reached = wave.reached(at_ms)
            is_last = at_ms >= self.moments_ms[-1]
            settled = reached if is_last else wave.reached(at_ms - fresh * FRAME_MS / self.slowed)
            places, size = dots(wave.connections, self.radius)
            for place, (dx, dy) in enumerate(places):
                shown = size if place < reached else 0.55 * size
                paint = DIM if place >= reached else color if place < settled else fresh_color
                mask = _dot(max(2, round(shown)))
                image.paste(paint, (x + dx - mask.width // 2, y + dy - mask.height // 2), mask)
            pen.text((x, y - self.radius - 20), wave.label, color, label_font, anchor="ms")
            count = f"{reached:,} reached"
            if reached == len(wave.latency_ms):
                everybody = "all" if reached == wave.connections else f"{reached:,} of {wave.connections:,}"
                count = f"{everybody} after {wave.last_ms:,.0f} ms"
            pen.text((x, y + self.radius + 32), count, TEXT, self.fitting_font(count, 20), anchor="ms")
        captions = "A dot is a connection. The first one reached is in the middle.", f"{_pace(self.slowed)} {self.note}"
        for line, text in enumerate(captions):
            pen.text((WIDTH / 2, height - 44 + 25 * line), text.strip(), QUIET, _font(16), anchor="ms")
        return image

    @property
    def radius(self) -> int:
        """Of each disc, in pixels."""
        return min(MAX_RADIUS, WIDTH // (2 * len(self.waves)) - GAP)

    def fitting_font(self, text: str, size: int) -> ImageFont.FreeTypeFont:
        """A bold font, of this size or so much smaller that the text stays above or below its own disc."""
        while _font(size, bold=True).getlength(text) > WIDTH / len(self.waves) - GAP and size > 8:
            size -= 1
        return _font(size, bold=True)

    def centers(self) -> list[tuple[int, int]]:
        """The centre of each broadcast's disc, in pixels."""
        share = WIDTH / len(self.waves)
        return [(round(share * (number + 0.5)), DISC_TOP + self.radius) for number in range(len(self.waves))]


def ripple(measured: Mapping[str, Result], note: str = "") -> Ripple:
    """Show one broadcast of each result: of those to the most connections that all have, the one of median duration.

    Args:
        measured: results by the name that is drawn over each of them; two, or three.
        note: a sentence for the caption, such as where this was measured.

    Raises:
        ValueError: in one sentence, if these are not two or three, or have no number of connections in common.
    """
    if not 2 <= len(measured) <= len(LIT):
        raise ValueError(f"Two or three results can be shown side by side, not {len(measured)}.")
    sent = {name: result.heard_broadcasts() for name, result in measured.items()}
    common = set.intersection(*(set(each["expected"]) for each in sent.values()))
    if not common:
        raise ValueError("These results can't be shown side by side: they have no number of connections in common.")
    connections = max(common)
    waves = []
    for name, result in measured.items():
        rows = sent[name].query("expected == @connections").sort_values("last_ms")
        number = rows["broadcast"].iloc[(len(rows) - 1) // 2]
        heard = first_copies(result.deliveries[result.deliveries["broadcast"] == number])
        waves.append(Wave(name, np.sort(heard["latency_ms"].to_numpy(float)), int(connections)))
    return Ripple(tuple(waves), note)


@cache
def dots(connections: int, disc_radius: int = MAX_RADIUS) -> tuple[list[tuple[int, int]], float]:
    """Where the dots of a disc are, in pixels from its centre outwards, and the diameter of a dot.

    They are a sunflower's seeds: equally dense everywhere, so a lit area is as large as its share of the connections.
    H. Vogel, A better way to construct the sunflower head, Mathematical Biosciences 44 (1979).
    """
    number = np.arange(connections)
    radius, angle = disc_radius * np.sqrt((number + 0.5) / connections), GOLDEN_ANGLE * number
    places = np.column_stack([radius * np.cos(angle), radius * np.sin(angle)]).round().astype(int)
    return [(int(x), int(y)) for x, y in places], 0.68 * disc_radius * np.sqrt(np.pi / connections)


def _pace(slowed: float) -> str:
    if slowed == 1:
        return "Shown in real time."
    return f"Shown {slowed:,.0f} times slower." if slowed > 1 else f"Shown {1 / slowed:,.0f} times faster."


@cache
def _dot(diameter: int) -> Image.Image:
    """A mask of a dot with smooth edges."""
    large = Image.new("L", (8 * diameter, 8 * diameter))
    ImageDraw.Draw(large).ellipse((0, 0, 8 * diameter - 1, 8 * diameter - 1), fill=255)
    return large.reduce(8)


@cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(folder / f"DejaVuSans{'-Bold' if bold else ''}.ttf", size)


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw results, and write `OUT.gif` and `OUT.png`.

    Raises:
        LoadTestError: in one sentence, if they can't be read, shown side by side, or written.
    """
    parser = argparse.ArgumentParser(prog="python -m loadtest.ripple", description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="+", type=Path, help="results of a load test, two or three")
    parser.add_argument("out", type=Path, help="where to write, without .gif and .png")
    parser.add_argument("--note", default="", metavar="TEXT", help="a sentence for the caption")
    options = parser.parse_args(arguments)
    try:
        picture = ripple({folder.name: results.load(folder) for folder in options.folder}, options.note)
        picture.save(options.out)
    except (ValueError, OSError) as error:
        raise LoadTestError(str(error)) from error
    print(picture.describe())
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
