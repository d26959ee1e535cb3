"""What all plots have in common: a style, colours that everybody can tell apart, a text for who can't see them."""

import io
from collections.abc import Iterable
from functools import cached_property
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

# Okabe and Ito's colours, which people of every colour vision can tell apart: https://jfly.uni-koeln.de/color/
BLUE, ORANGE, RED, GREEN, PURPLE = "#0072b2", "#e69f00", "#d55e00", "#009e73", "#cc79a7"
GREY, INK = "#7a8088", "#24292f"

Kind = Literal["measured", "simulated"]


class NotebookFigure(Figure):
    """A Figure that a notebook shows once, whatever matplotlib's back end is. A PNG of it carries its texts."""

    alt = ""
    """What is to be seen, in words with figures: the alternative text."""
    kind: Kind = "measured"
    """Where what is drawn comes from."""

    def savefig(self, fname: Any, **options: Any) -> None:
        """Save it as matplotlib does; a PNG gets `alt` and `kind` as its texts "Description" and "Source"."""
        if options.get("format", str(fname).rpartition(".")[2]) == "png":
            options["metadata"] = {"Description": self.alt, "Source": self.kind} | options.get("metadata", {})
        super().savefig(fname, **options)

    @cached_property
    def png(self) -> bytes:
        """The picture as it was when it was first asked for, which a notebook shows."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=100)
        return buffer.getvalue()

    def _repr_png_(self) -> tuple[bytes, dict[str, str]]:
        return self.png, {"alt": self.alt}


def new_figure(title: str, x: str, y: str, height: float = 4.2) -> tuple[NotebookFigure, Axes]:
    """An empty Figure with a title and labelled axes, and its Axes."""
    figure = NotebookFigure(figsize=(8.5, height), layout="constrained")
    axes = figure.add_subplot()
    style(axes, title, x, y)
    return figure, axes


def style(axes: Axes, title: str, x: str, y: str = "") -> None:
    """Give Axes the style, a title and labels."""
    set_title(axes, title)
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.tick_params(colors=INK)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def set_title(axes: Axes, title: str) -> None:
    """Set the title, which states the finding."""
    axes.set_title(title, loc="left", fontsize=12, color=INK)


def format_ms(value: float) -> str:
    """A time in milliseconds with three significant digits and its unit."""
    if not np.isfinite(value):
        return "no time"
    digits = max(0, 2 - int(np.floor(np.log10(abs(value))))) if value else 0
    return f"{round(value, digits):,.{min(digits, 3)}f} ms"


def log_axis(axis: Axis, values: Iterable[float]) -> None:
    """Make an axis logarithmic over the positive values, labelled with plain numbers at round values."""
    shown = np.asarray(values, dtype=float)
    shown = shown[shown > 0]
    low, high = (shown.min(), shown.max()) if len(shown) else (1, 10)
    is_x = axis is axis.axes.xaxis
    set_limits = axis.axes.set_xlim if is_x else axis.axes.set_ylim
    (axis.axes.set_xscale if is_x else axis.axes.set_yscale)("log")
    set_limits(low / 1.3, high * 1.3)
    decades = range(int(np.floor(np.log10(low))) - 1, int(np.ceil(np.log10(high))) + 1)
    steps = tuple(range(1, 10)) if high / low < 4 else (1, 2, 5) if high / low < 2_000 else (1,)
    axis.set_ticks([step * 10.0**decade for decade in decades for step in steps])
    axis.set_ticks([], minor=True)
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    set_limits(low / 1.3, high * 1.3)


def whole_numbers(axis: Axis) -> None:
    """Label an axis with whole numbers only."""
    axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
