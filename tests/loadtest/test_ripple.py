"""The ripple shows exactly the deliveries that there were, when they were."""

import io

import numpy as np
import pytest
from PIL import Image, ImageColor, ImageSequence

from loadtest import results, ripple
from loadtest.errors import LoadTestError
from tests.support.measured import result_of

CONNECTIONS = 24
LAST_MS = {"one by one": 30.0 + 10 * (CONNECTIONS - 1), "at once": 30.0 + 2 * (CONNECTIONS - 1)}


def result(ms_each, connections=CONNECTIONS, broadcasts=4):
    """Each broadcast is 1 ms slower than the one before; the warm-up, the first, is very slow."""
    place = np.random.default_rng(1).permutation(connections)
    latency_ms = 30 + ms_each * place + np.arange(broadcasts)[:, None] - 2.0
    latency_ms[0] += 1_000
    return result_of(latency_ms)


@pytest.fixture(scope="module")
def two():
    return ripple.ripple({"one by one": result(10), "at once": result(2)}, note="measured in a test")


def lit(image, center, connections=CONNECTIONS, radius=ripple.MAX_RADIUS):
    """Which of a disc's dots are lit: their middle is not dim."""
    rgb, (x, y) = image.convert("RGB"), center
    pixels = np.array([rgb.getpixel((x + dx, y + dy)) for dx, dy in ripple.dots(connections, radius)[0]])
    return np.abs(pixels - ImageColor.getrgb(ripple.DIM)).sum(axis=1) > 60


def test_each_frame_lights_exactly_who_had_received_it_by_then_at_the_pace_that_it_says(two):
    assert {wave.label: wave.last_ms for wave in two.waves} == pytest.approx(LAST_MS)  # of the median broadcast
    frames, shown_ms = [], []
    for frame in ImageSequence.Iterator(Image.open(io.BytesIO(two.gif))):
        frames.append(frame.convert("RGB"))
        shown_ms.append(frame.info["duration"])
    assert len(frames) == len(two.moments_ms) > 50
    for image, moment_ms in zip(frames, two.moments_ms, strict=True):
        for wave, center in zip(two.waves, two.centers(), strict=True):
            reached = int((wave.latency_ms <= moment_ms).sum())
            assert np.array_equal(np.flatnonzero(lit(image, center)), np.arange(reached)), (wave.label, moment_ms)
    assert np.allclose(shown_ms[:-1] / np.diff(two.moments_ms), two.slowed)
    assert two.moments_ms[0] == 0 and two.moments_ms[-1] >= max(LAST_MS.values())


def test_the_still_picture_is_the_moment_at_which_the_first_one_is_done(two):
    image = Image.open(io.BytesIO(two.png))
    slow, fast = (lit(image, center).sum() for center in two.centers())
    assert (slow, fast) == (int((two.waves[0].latency_ms <= LAST_MS["at once"]).sum()), CONNECTIONS)
    assert "one by one: 5, the last one after 260 ms; at once: 24, the last one after 76 ms" in two.describe()
    assert image.info["Description"] == two.describe()


def test_what_never_arrived_is_never_lit():
    lossy = np.full((3, 10), 20.0)
    lossy[:, 7:] = np.nan
    picture = ripple.ripple({"lossy": result_of(lossy), "whole": result(1, connections=10)})
    last = picture.frame(picture.moments_ms[-1])
    assert [lit(last, center, 10).sum() for center in picture.centers()] == [7, 10]


def test_three_results_keep_apart_and_each_picture_says_how_much_slower_it_is(two):
    labels = "one after another", "in eight threads at once", "as it is deployed now, the event loop"
    three = ripple.ripple(dict(zip(labels, (result(400), result(2), result(1)), strict=True)), note="Measured.")
    last = three.frame(three.moments_ms[-1])
    for number in (1, 2):
        x = round(number * ripple.WIDTH / 3)
        column = {last.getpixel((x, y)) for y in range(70, last.height - 70)}
        assert column == {ImageColor.getrgb(ripple.CARD)}, number
    assert all(lit(last, center, radius=three.radius).all() for center in three.centers())
    said = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ripple.ImageDraw.ImageDraw, "text", lambda _, where, text, *more, **options: said.append(text))
        for picture in (three, two):
            picture.frame(0)
    assert "Shown 2 times faster. Measured." in said
    assert f"Shown {two.slowed:.0f} times slower. measured in a test" in said


def test_without_a_number_of_connections_in_common_there_is_no_picture():
    with pytest.raises(ValueError, match="they have no number of connections in common"):
        ripple.ripple({"a": result(1, connections=10), "b": result(1, connections=11)})


def test_a_notebook_shows_it_moving_or_still_to_people_who_asked_for_that(two):
    bundle = two._repr_mimebundle_()
    assert "prefers-reduced-motion: reduce" in bundle["text/html"] and "data:image/gif" in bundle["text/html"]
    assert two.describe() in bundle["text/html"]
    assert bundle.keys() == {"text/html", "image/png", "text/plain"}


def test_the_command_writes_both_pictures(two, tmp_path, capsys):
    for wave, ms_each in zip(two.waves, (10, 2), strict=True):
        made = result(ms_each)
        results.write(tmp_path / wave.label, made.tables(), made.summary)
    folders = [str(tmp_path / wave.label) for wave in two.waves]
    assert ripple.main([*folders, str(tmp_path / "made" / "it"), "--note", "measured in a test"]) == 0
    assert (tmp_path / "made" / "it.gif").read_bytes() == two.gif
    assert (tmp_path / "made" / "it.png").read_bytes() == two.png
    assert two.describe() in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere", "neither", "out"], "There are no results in nowhere"),
    ],
)
def test_a_mistake_is_one_sentence(arguments, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LoadTestError, match=sentence):
        ripple.main(arguments)
