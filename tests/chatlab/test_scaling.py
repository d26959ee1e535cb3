"""How the time grows with the connections, and the pictures of it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from chatlab import limits, scaling
from chatlab.paths import ROOT


def broadcasts(ms, steps=(20, 80, 160), number=8, seed=0):
    """A table in which a broadcast to `step` connections takes about `ms(step)`."""
    noise = np.random.default_rng(seed).lognormal(0, 0.1, (len(steps), number))
    rows = [(step, ms(step) * each) for step, noises in zip(steps, noise, strict=True) for each in noises]
    return pd.DataFrame(rows, columns=["connections", "last_ms"])


def test_a_line_has_the_slope_that_its_broadcasts_have_and_an_interval_around_it():
    slopes, intercepts = scaling.fit_lines(scaling.draw_medians(broadcasts(lambda step: 10 + 0.8 * step)))
    low, high = np.quantile(slopes, [0.025, 0.975])
    assert low < 0.8 < high < 1.0
    assert np.median(intercepts) == pytest.approx(10, abs=5)


def test_the_smaller_steps_line_meets_the_largest_step_as_often_as_its_interval_says():
    def misses(ms):
        for seed in range(100):
            drawn = scaling.draw_medians(broadcasts(ms, seed=seed), draws=500)
            slopes, intercepts = scaling.fit_lines(drawn[[20, 80]])
            low, high = np.quantile(drawn[160] - (slopes * 160 + intercepts), [0.025, 0.975])
            yield not low <= 0 <= high

    assert sum(misses(lambda step: 10 + 0.8 * step)) <= 10
    assert sum(misses(lambda step: 10 + 0.008 * step**2)) >= 95


def test_the_picture_of_what_was_measured_says_it_in_words():
    figure = scaling.plot_growth(pd.DataFrame({"connections": [10, 20, 40] * 2, "last_ms": [20.0, 30.0, 50.0] * 2}))
    assert figure.axes[0].get_title(loc="left") == "Everybody in a room of 40 has heard it after 50.0 ms"
    assert figure.alt.endswith(
        "20 ms with 10; 30 ms with 20; 50 ms with 40. The line through the smaller steps has 50 to 50 ms for 40."
    )


def test_the_picture_of_the_forecasts_has_a_name_at_each_lines_end_that_covers_no_other(tmp_path):
    raised = replace(limits.DEFAULT, requests_per_s=100_000.0)
    tables = {
        name: limits.sweep(replace(case, timeout_s=900), [100, 10_000, 1_000_000], [shards])
        for name, case, shards in (("one", limits.DEFAULT, 1), ("ten", limits.DEFAULT, 10), ("more", raised, 4))
    }
    figure = scaling.plot_forecasts(tables, 2, 46)
    figure.savefig(tmp_path / "picture.png")
    (axes,) = figure.axes
    names = [text for text in axes.texts if text.get_text().rpartition("\n")[2] in tables]
    assert len(names) == len(tables) and not figure.legends and not axes.get_legend()
    boxes = [text.get_window_extent() for text in names]
    assert not [a for a in boxes for b in boxes if a is not b and a.overlaps(b)]
    assert all(box.x1 <= figure.bbox.x1 for box in boxes)
    assert "one: 0.11 s for 100, 1.29 s for 10,000, 125.04 s for 1,000,000" in figure.alt


def test_the_room_that_the_readme_promises_is_quick():
    for post_ms in (5, 10, 25):
        assert limits.forecast(replace(limits.DEFAULT, post_ms=post_ms), 10_000).last_s < 2
    assert "up to 10,000 people" in (ROOT / "README.md").read_text()
