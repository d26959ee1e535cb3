"""Plots say what they show."""

import re

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from loadtest import order, plots, records, results
from loadtest.records import KERNEL, BroadcastRecord, ConnectionRecord
from tests.support.measured import result_of

MS = 1_000_000
NOW = 1_800_000_000_000 * MS


def by_place(result):
    return order.later_by_place(order.usual_order(result), page=20)


OF_ONE = [
    plots.latency_distribution,
    plots.last_delivery,
    plots.completeness,
    by_place,
    plots.timeline,
    plots.harness_lag,
]


def result(broadcasts=12, connections=30, lose=0):
    random, log = np.random.default_rng(1), records.DeliveryLog()
    sent = [NOW + k * 500 * MS for k in range(broadcasts)]
    for k, sent_ns in enumerate(sent):
        for number in range(connections - lose):
            arrived_ns = sent_ns + MS + round(number * 0.1 * MS + random.exponential() * MS)
            log.append(number, k, arrived_ns, arrived_ns + 100_000, KERNEL)
    rows = [
        BroadcastRecord(k, phase=0, warm_up=k < 2, speaker=0, intended_ns=time, sent_ns=time)
        for k, time in enumerate(sent)
    ]
    return results.assemble(
        log.take(),
        records.table("broadcasts", rows),
        records.table("connections", [ConnectionRecord(k, NOW - 2, 1, NOW - 1) for k in range(connections)]),
        requested=broadcasts - 2,
        users=connections,
        drain_s=10,
        metadata={},
    )


def texts(figure):
    (axes,) = figure.axes
    return axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel()


@pytest.mark.parametrize("plot", OF_ONE, ids=lambda plot: plot.__name__)
def test_a_plot_has_a_finding_and_labelled_axes(plot):
    title, x, y = texts(plot(result()))
    assert title and x and y
    assert any(unit in x + y for unit in ("(ms)", "(s)", "(%)", "Deliveries"))


@pytest.mark.parametrize("plot", OF_ONE, ids=lambda plot: plot.__name__)
@pytest.mark.parametrize("size", [(0, 0), (3, 1), (2, 5)], ids=["nothing", "one connection", "warm-up only"])
def test_a_plot_of_little_is_no_error(plot, size):
    assert plot(result(*size))._repr_png_()[0]


def test_titles_state_figures():
    assert texts(plots.completeness(result(lose=3)))[0] == "324 of 360 deliveries arrived, 36 missing, 0 twice"
    assert "12 times: broadcast with missing deliveries" in texts(plots.timeline(result(lose=3)))[0]


def test_a_title_claims_only_what_has_an_interval():
    of_few = texts(plots.latency_distribution(result()))[0]
    assert of_few.startswith("Deliveries arrived: 50 % within ") and "99 %" not in of_few
    of_many = texts(plots.latency_distribution(result(broadcasts=402)))[0]
    assert re.search(r": 50 % within .*, 90 % within .*, 99 % within ", of_many)


def test_a_guess_is_drawn_where_it_is():
    (axes,) = plots.last_delivery(result(), guess_ms=3.5).axes
    (guess,) = (line for line in axes.lines if line.get_label() == "your guess")
    assert set(guess.get_ydata()) == {3.5}


def test_the_cost_of_a_place_is_the_slope_in_the_other_half():
    title = texts(by_place(result(broadcasts=42)))[0]
    assert 80 < float(re.search(r"is ([\d,]+) µs more", title)[1]) < 120  # 100 µs, and random delays


def test_readings_stand_beside_the_truth():
    rows = pd.DataFrame({"truth_ms": [1.0, 2.0], "latency_ms": [3.0, 4.0]})
    assert "naive is off by 2.00 ms" in texts(plots.readings({"naive": rows}))[0]


@pytest.mark.parametrize("plot", OF_ONE, ids=lambda plot: plot.__name__)
def test_who_does_not_see_a_plot_reads_what_is_seen(plot):
    text = plot(result()).alt
    assert text.endswith(".") and len(text) > 60 and any(letter.isdigit() for letter in text)


def test_a_notebook_shows_a_figure_as_a_png_with_its_text(tmp_path):
    figure, path = plots.last_delivery(result()), tmp_path / "figure.png"
    png, metadata = figure._repr_png_()
    path.write_bytes(png)
    height, width, _ = matplotlib.image.imread(path).shape
    assert (width, height) == (850, 420)
    assert metadata == {"alt": figure.alt}


def test_a_saved_figure_carries_its_text_and_where_it_comes_from(tmp_path):
    figure = plots.last_delivery(result())
    figure.savefig(tmp_path / "figure.png", dpi=50)
    with Image.open(tmp_path / "figure.png") as image:
        assert (image.info["Description"], image.info["Source"]) == (figure.alt, "measured")


@pytest.mark.parametrize("seed", range(3))
def test_the_labels_of_the_quantiles_overlap_nothing(seed):
    """A narrow body with a long tail, and the other way round."""
    random = np.random.default_rng(seed)
    size = (30, 40)
    latency_ms = [20 + random.gamma(1, 1, size), 10 * random.pareto(1, size) + 5, random.uniform(9, 10, size)]
    figure = plots.latency_distribution(result_of(latency_ms[seed]))
    figure.canvas.draw()
    (axes,) = figure.axes
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not any(one.overlaps(other) for k, one in enumerate(boxes) for other in boxes[:k])
    assert all(axes.bbox.containsx(box.x0) and axes.bbox.containsx(box.x1) for box in boxes)
