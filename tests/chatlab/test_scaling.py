"""The pictures of how far the chat goes, and the sliders that change one of them."""

from dataclasses import replace

import ipywidgets as widgets
import pandas as pd

from chatlab import limits, scaling
from loadtest.plots import RED


def test_the_picture_has_a_panel_for_each_table_and_says_what_binds(tmp_path):
    raised = replace(limits.DEFAULT, requests_per_s=100_000.0)
    cases = {"Default quotas": limits.DEFAULT, "Ten times the quotas": raised}
    tables = {name: limits.sweep(case, [1_000, 30_000, 500_000], [1, 10]) for name, case in cases.items()}
    figure = scaling.plot_forecasts(tables, {"29 s": 29}, (1_000, 2.0))
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(tables)
    said = {text.get_text() for text in figure.legends[0].get_texts()}
    assert said > {"1 invocation", "10 invocations", "bound by posting", "bound by the account's request quota", "29 s"}
    assert said > {"did not reach everyone", "your guess"}
    faces = {
        line.get_markerfacecolor()
        for line in figure.axes[0].lines
        if line.get_marker() == "D" and len(line.get_xdata())
    }
    assert faces == {"white", RED}, "a point is filled if everybody was reached"
    figure.savefig(tmp_path / "picture.png")


def test_what_was_measured_is_compared_where_both_were():
    rows = [("sequential", 10, 100.0), ("sequential", 20, 300.0), ("fanout", 20, 100.0), ("fanout", 40, 120.0)]
    figure = scaling.plot_measured(pd.DataFrame(rows, columns=["variant", "connections", "last_ms"]))
    assert figure.axes[0].get_title(loc="left") == "20 connections: everyone has heard it 3.0 times sooner"
    assert figure.alt.endswith(
        "sequential 100 ms with 10 and 300 ms with 20; fanout 100 ms with 20 and 120 ms with 40."
    )


def test_the_picture_is_of_the_forecast_with_what_was_chosen():
    figure = scaling.picture(limits.DEFAULT, post_ms=25, requests_per_s=100_000, shards=1, memory_mb=256)
    changed = replace(limits.DEFAULT, post_ms=25, requests_per_s=100_000, memory_mb=256)
    seconds = limits.forecast(changed, 100_000).last_s
    assert f"25 ms a post, a quota of 100,000 a second, 256 MB: {seconds:,.1f} s to 100,000 people" in figure.alt


def test_moving_a_slider_replaces_the_picture(monkeypatch):
    shown, updated, made = [], [], []

    class Handle:
        update = staticmethod(updated.append)

    class Box(widgets.VBox):
        def __init__(self, controls):
            super().__init__(controls)
            made.extend(controls)

    def display(value, display_id=None, raw=False):
        shown.append(value)
        return Handle

    monkeypatch.setattr(scaling, "display", display)
    monkeypatch.setattr(widgets, "VBox", Box)
    scaling.show_sliders(limits.DEFAULT)
    controls, picture = shown
    assert "need a running kernel" in controls["text/plain"]
    assert "10 ms a post" in picture.alt
    made[0].value = 20
    (new,) = updated
    assert "20 ms a post" in new.alt
