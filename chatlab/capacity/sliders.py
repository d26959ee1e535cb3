"""The model under your hands: a picture of how far the chat goes, and sliders that change what is assumed.

The picture is an ordinary one. So a page that shows a saved notebook, where nothing can be moved, shows it as well.
"""

from dataclasses import replace

import ipywidgets as widgets
from IPython.display import DisplayHandle, display

from chatlab.capacity import plot, simulation
from chatlab.capacity.model import Parameters
from loadtest.plots import NotebookFigure

ROOMS = (1_000, 10_000, 100_000)
POSTS_MS, REQUESTS_PER_S, SHARDS, MEMORY_MB = (5, 25), (1_000, 2_500, 10_000, 100_000), (1, 10), (128, 1_769)
"""What each slider goes through, or from where to where."""


def picture(
    parameters: Parameters, post_ms: float, requests_per_s: float, shards: int, memory_mb: int
) -> NotebookFigure:
    """Time to last delivery in three rooms, with these of the parameters changed."""
    changed = replace(parameters, post_ms=post_ms, requests_per_s=requests_per_s, memory_mb=memory_mb)
    table = simulation.sweep(changed, ROOMS, [shards], posts_ms=[])
    title = (
        f"{post_ms:g} ms a post, a quota of {requests_per_s:,.0f} a second, {memory_mb:,} MB: "
        f"{table['last_s'].iloc[-1]:,.1f} s to {ROOMS[-1]:,} people"
    )
    return plot.forecast({title: table}, {})


def show(parameters: Parameters) -> None:
    """Show the picture, and sliders above it, which need a kernel."""
    controls = {
        "post_ms": widgets.IntSlider(round(parameters.post_ms), *POSTS_MS, description="ms a post"),
        "requests_per_s": widgets.SelectionSlider(
            options=sorted({*REQUESTS_PER_S, round(parameters.requests_per_s)}),
            value=round(parameters.requests_per_s),
            description="quota a second",
        ),
        "shards": widgets.IntSlider(1, *SHARDS, description="invocations"),
        "memory_mb": widgets.IntSlider(parameters.memory_mb, *MEMORY_MB, description="MB of memory"),
    }
    without_kernel = {"text/plain": "Sliders, which need a running kernel: open this notebook in JupyterLab."}
    display(widgets.VBox(list(controls.values()))._repr_mimebundle_() | without_kernel, raw=True)

    def current() -> NotebookFigure:
        return picture(parameters, **{name: control.value for name, control in controls.items()})

    shown: DisplayHandle = display(current(), display_id=True)
    for control in controls.values():
        control.continuous_update = False
        control.style = {"description_width": "7em"}
        control.observe(lambda _: shown.update(current()), "value")
