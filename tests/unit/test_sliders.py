"""The model's sliders: what they change is what the picture shows, and without a kernel the picture is there."""

from dataclasses import replace

import ipywidgets as widgets
import pytest

from chatlab.capacity import model, simulation, sliders


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(sliders, "ROOMS", (100, 1_000))


def test_the_picture_is_of_the_model_with_what_was_chosen():
    figure = sliders.picture(model.DEFAULT, post_ms=25, requests_per_s=1_000, shards=1, memory_mb=512)
    changed = replace(model.DEFAULT, post_ms=25, requests_per_s=1_000, memory_mb=512)
    seconds = simulation.simulate(changed, 1_000).last_s
    assert f"25 ms a post, a quota of 1,000 a second, 512 MB: {seconds:,.1f} s to 1,000 people" in figure.alt


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

    monkeypatch.setattr(sliders, "display", display)
    monkeypatch.setattr(widgets, "VBox", Box)
    sliders.show(model.DEFAULT)
    controls, picture = shown
    assert "need a running kernel" in controls["text/plain"]
    assert "10 ms a post" in picture.alt
    made[0].value = 20
    (new,) = updated
    assert "20 ms a post" in new.alt
