"""What a load test can be asked to do, and when its broadcasts are due."""

import os
import re
import tempfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest import arguments
from loadtest.arguments import constant_offsets, poisson_offsets, trace_offsets
from tests.support.load_tests import URL, settings


def test_the_warm_up_leaves_before_the_others_and_apart_from_them():
    chosen = settings("--warm-up", "2", "--broadcasts", "3", "--broadcast-rate", "10")
    assert chosen.with_warm_up() == pytest.approx([0, 0.1, 1.1, 1.2, 1.3])
    assert chosen.with_warm_up(phase=1) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert settings("--warm-up", "0", "--broadcasts", "3").with_warm_up().tolist() == [0, 1, 2]


def test_steps_are_phases():
    chosen = settings("--shape", "steps", "--steps", "5,10,20", "--broadcasts", "7")
    assert chosen.phases == (5, 10, 20)
    assert chosen.total_broadcasts == 21


def test_the_longest_time_of_a_test_adds_up_every_wait():
    chosen = settings("--shape", "steps", "--steps", "10,20", "--broadcasts", "3", "--warm-up", "0")
    each_phase_s = 30 + 30 + arguments.CONNECT_GRACE_S + arguments.SYNCHRONISE_S + arguments.LEAD_S + 2 + 10
    end_s = arguments.SETTLE_S + arguments.COLLECT_S + 20 / 5 + arguments.LEAVE_GRACE_S + arguments.WRITE_S
    assert chosen.longest_s(rate=5) == pytest.approx(10 / 5 + 20 / 5 + 2 * each_phase_s + end_s)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--broadcast-rate", "0"], "--broadcast-rate must be more than 0 and at most 1,000,000, not 0.0"),
        (["--broadcast-rate", "nan"], "--broadcast-rate must be .* not nan"),
        (["--warm-up", "-1"], "--warm-up must be at least 0 and at most 1,000,000, not -1"),
        (["--churn", "1.5"], "--churn must be at least 0 and at most 1, not 1.5"),
        (["--speakers", "3000000000"], "--speakers must be .* at most 1,000,000, not 3000000000"),
        (["--max-message-bytes", "1000"], "--max-message-bytes must be at least 32,768"),
        (["--shape", "steps"], "--shape steps needs --steps"),
        (["--shape", "steps", "--steps", "10,5"], "growing numbers"),
        (["--steps", "a,b"], "takes numbers with commas"),
        (["--arrivals", "trace"], "can't be read"),
        (["--arrivals", "poisson", "--duration", "1e-9"], "The schedule is empty"),
        (["--ca-file", "/no/such.pem"], "There is no file '/no/such.pem'"),
        (["--churn", "0.05", "--speakers", "10"], "than --speakers, which stay: 10 are not more than 10"),
        # What would not end or not fit into memory:
        (
            ["--broadcasts", "1000000", "--warm-up", "1000000", "--broadcast-rate", "1e5"],
            "That would be 20,000,000 deliveries",
        ),
        (["--duration", "600000", "--broadcast-rate", "1e6", "--arrivals", "poisson"], "That would be "),
        (["--broadcast-rate", "1e-320"], "The last broadcast would be due after"),
        (["--broadcasts", "20000", "--shape", "steps", "--steps", "100,200"], "That would be 6,000,600 deliveries"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(words, says):
    with pytest.raises(ValueError, match=says) as caught:
        settings(*words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["", "http://127.0.0.1/", "ws:///x", "ws://[::1", "ws://host:99999/"])
def test_the_host_has_to_be_a_websocket_url(url):
    with pytest.raises(ValueError, match="--host takes the chat's URL"):
        settings(url=url)


def test_users_have_to_be_some():
    with pytest.raises(ValueError, match="--users must be more than 0"):
        settings(users=-3)
    assert settings("--churn", "0.05", "--speakers", "9", users=10).churn == 0.05  # one may leave


ANY_INT, ANY_FLOAT, ANY_TEXT = st.integers(-(10**20), 10**20) | st.integers(-2, 100), st.floats(), st.text(max_size=30)
VALUES = {
    name: st.sampled_from(option.choices)
    if option.choices
    else {int: ANY_INT, float: ANY_FLOAT, str: ANY_TEXT}[type(option.default)]
    for name, option in arguments.OPTIONS.items()
}
VALUES["steps"] |= st.lists(st.integers(-1, 10**7), max_size=4).map(lambda steps: ",".join(map(str, steps)))
ONE = st.sampled_from(sorted(VALUES)).flatmap(lambda name: st.fixed_dictionaries({name: VALUES[name]}))
URLS = st.just(URL) | ANY_TEXT | st.text("ws:/[]@.1a", max_size=20).map("ws://{}".format)


@given(ONE | st.fixed_dictionaries({}, optional=VALUES), URLS, st.just(10) | ANY_INT)
def test_any_options_are_taken_or_refused_in_one_sentence(drawn, url, users):
    words = [f"{arguments.flag(name)}={value}" for name, value in drawn.items()]
    try:
        chosen = settings(*words, url=url, users=users)
    except ValueError as error:
        assert str(error).endswith(".") and "\n" not in str(error), error
        return
    for phase in range(2):
        offsets = chosen.with_warm_up(phase)
        assert offsets.shape == (chosen.warm_up + len(chosen.schedule),)
        assert offsets[0] >= 0 and (np.diff(offsets) >= 0).all() and offsets[-1] <= arguments.MAX_S
    assert len(offsets) * sum(chosen.phases) <= arguments.MAX_DELIVERIES


def test_constant_is_one_broadcast_every_period():
    assert constant_offsets(4, rate=2).tolist() == [0, 0.5, 1, 1.5]
    assert len(constant_offsets(99, rate=10, duration=0.3)) == 3
    assert constant_offsets(99, rate=4, duration=1).max() < 1


def test_poisson_has_exponential_gaps_which_the_seed_decides():
    offsets = poisson_offsets(20_000, rate=5, seed=1)
    gaps = np.diff(offsets)
    assert gaps.mean() == pytest.approx(0.2, rel=0.03)
    assert gaps.std() == pytest.approx(0.2, rel=0.03)
    assert (poisson_offsets(10, 1, seed=3) == poisson_offsets(10, 1, seed=3)).all()
    assert (poisson_offsets(10, 1, seed=3) != poisson_offsets(10, 1, seed=4)).any()
    assert len(poisson_offsets(1, rate=50, seed=1, duration=100)) == pytest.approx(5_000, rel=0.05)


@given(st.integers(1, 200), st.floats(1e-3, 1e5), st.integers(0, 2**32), st.just(0.0) | st.floats(1e-3, 1.0))
def test_schedules_ascend_from_zero_and_end_in_time(broadcasts, rate, seed, duration):
    for offsets in (constant_offsets(broadcasts, rate, duration), poisson_offsets(broadcasts, rate, seed, duration)):
        assert offsets.dtype == float and np.isfinite(offsets).all()
        assert (offsets >= 0).all() and (np.diff(offsets) >= 0).all()
        assert duration or len(offsets) == broadcasts
        assert not duration or (offsets < duration).all()


def test_a_trace_has_offsets_and_comments_and_is_cut_at_the_duration(tmp_path):
    (path := tmp_path / "trace.txt").write_text("# four\n0\n0.25  # the second\n\n0.25\n2\n")
    assert trace_offsets(path).tolist() == [0, 0.25, 0.25, 2]
    assert settings("--arrivals", "trace", "--trace", f"{path}", "--duration", "2").schedule.tolist() == [0, 0.25, 0.25]
    path.write_text("0\n1e300\n")
    with pytest.raises(ValueError, match="The last broadcast would be due after"):
        settings("--arrivals", "trace", "--trace", f"{path}")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0\nsoon\n", "line 2: 'soon' is not"),
        ("1\n0.5\n", "line 2: '0.5' is not"),
        ("inf\n", "line 1: 'inf' is not"),
        ("# nothing\n", "no offsets"),
    ],
)
def test_a_trace_says_what_is_wrong_with_it(tmp_path, text, says):
    (path := tmp_path / "trace.txt").write_text(text)
    with pytest.raises(ValueError, match=says):
        trace_offsets(path)


LINES = st.floats(0, 1e6).map(str) | st.integers(-5, 10**30).map(str) | st.text(max_size=12) | st.just("nan")


@given(st.binary(max_size=200) | st.lists(LINES, max_size=8).map("\n".join).map(str.encode))
def test_any_file_is_a_trace_or_is_refused_by_the_line(text):
    with tempfile.NamedTemporaryFile() as file:
        file.write(text)
        file.flush()
        try:
            offsets = trace_offsets(file.name)
        except ValueError as error:
            assert re.fullmatch(
                r".*(, line \d+: .* is not a number of seconds .*|has no offsets in it|can't be read: .*)\.", str(error)
            ), error
            return
    assert len(offsets)
    assert (offsets >= 0).all() and (np.diff(offsets) >= 0).all() and np.isfinite(offsets).all()


def test_what_is_no_file_or_too_large_is_no_trace(tmp_path):
    os.mkfifo(pipe := tmp_path / "pipe")  # nobody writes into it
    with (large := tmp_path / "large").open("wb") as file:
        file.truncate(arguments.MAX_TRACE_BYTES + 1)
    for path, why in ((pipe, "it is not a file"), (large, "it has more than 100 MB"), ("/no", "there is no such file")):
        with pytest.raises(ValueError, match=f"can't be read: {why}"):
            trace_offsets(path)
