"""Plots say what they show."""

import re

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from loadtest import delivery_order, plots
from tests.support.measured import result_of


def by_place(result):
    return delivery_order.later_by_place(delivery_order.usual_order(result))


OF_ONE = [
    plots.latency_distribution, plots.last_delivery, plots.completeness, by_place, plots.timeline, plots.harness_lag,
]  # fmt: skip


def result(broadcasts=12, connections=30, lose=0):
    """Each connection hears a broadcast 0.1 ms after the one before it, and some random time."""
    random = np.random.default_rng(1)
    latency_ms = 1 + 0.1 * np.arange(connections) + random.exponential(size=(broadcasts, connections))
    latency_ms[:, connections - lose :] = np.nan
    return result_of(latency_ms, warm_up=2)


def texts(figure):
    (axes,) = figure.axes
    return axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel()


@pytest.mark.parametrize("plot", OF_ONE, ids=lambda plot: plot.__name__)
def test_a_plot_has_a_finding_and_labelled_axes_and_says_all_of_it_in_words(plot):
    figure = plot(result())
    title, x, y = texts(figure)
    assert title and x and y
    assert any(unit in x + y for unit in ("(ms)", "(s)", "(%)", "Deliveries"))
    assert figure.alt.endswith(".") and len(figure.alt) > 60 and any(letter.isdigit() for letter in figure.alt)
    for size in ((0, 0), (3, 1), (2, 5)):  # nothing, one connection, the warm-up only
        assert plot(result(*size)).png


def test_titles_state_figures():
    lossy = result(lose=3)
    assert texts(plots.completeness(lossy))[0] == "324 of 360 deliveries arrived, 36 missing, 0 twice"
    assert "12 times: broadcast with missing deliveries" in texts(plots.timeline(lossy))[0]
    slope_ms = float(re.search(r"costs ([\d.]+) ms", texts(by_place(result(broadcasts=42)))[0])[1])
    assert 0.08 < slope_ms < 0.12  # 0.1 ms, and random delays
    rows = pd.DataFrame({"truth_ms": [1.0, 2.0], "latency_ms": [3.0, 4.0]})
    assert "naive is off by 2.00 ms" in texts(plots.readings({"naive": rows}))[0]


def test_a_title_claims_only_what_has_an_interval():
    of_few = texts(plots.latency_distribution(result()))[0]
    assert of_few.startswith("Deliveries arrived: 50 % within ") and "99 %" not in of_few
    of_many = texts(plots.latency_distribution(result(broadcasts=402)))[0]
    assert re.search(r": 50 % within .*, 90 % within .*, 99 % within ", of_many)


def test_a_guess_is_drawn_where_it_is():
    (axes,) = plots.last_delivery(result(), guess_ms=3.5).axes
    (guess,) = (line for line in axes.lines if line.get_label() == "your guess")
    assert set(guess.get_ydata()) == {3.5}


def test_a_figure_is_a_png_with_its_text_and_its_source(tmp_path):
    figure, path = plots.last_delivery(result()), tmp_path / "figure.png"
    png, metadata = figure._repr_png_()
    path.write_bytes(png)
    height, width, _ = matplotlib.image.imread(path).shape
    assert (width, height) == (850, 420)
    assert metadata == {"alt": figure.alt}
    figure.savefig(path, dpi=50)
    with Image.open(path) as image:
        assert (image.info["Description"], image.info["Source"]) == (figure.alt, "measured")
        assert image.info["Title"] == figure.axes[0].get_title(loc="left").replace("\n", " ") != ""


@pytest.mark.parametrize("shape", ["a long tail", "a heavy tail", "no tail"])
def test_the_labels_of_the_quantiles_overlap_nothing(shape):
    random, size = np.random.default_rng(1), (30, 40)
    latency_ms = {
        "a long tail": 20 + random.gamma(1, 1, size),
        "a heavy tail": 10 * random.pareto(1, size) + 5,
        "no tail": random.uniform(9, 10, size),
    }
    figure = plots.latency_distribution(result_of(latency_ms[shape]))
    figure.canvas.draw()
    (axes,) = figure.axes
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not any(one.overlaps(other) for k, one in enumerate(boxes) for other in boxes[:k])
    assert all(axes.bbox.containsx(box.x0) and axes.bbox.containsx(box.x1) for box in boxes)
