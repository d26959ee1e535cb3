"""When broadcasts leave."""

import os
import re
import tempfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest import schedule


def test_constant_is_one_broadcast_every_period():
    assert schedule.constant(4, rate=2).tolist() == [0, 0.5, 1, 1.5]


def test_constant_fills_a_duration():
    assert len(schedule.constant(99, rate=10, duration=0.3)) == 3
    assert schedule.constant(99, rate=4, duration=1).max() < 1


def test_poisson_has_exponential_gaps_of_the_right_mean():
    gaps = np.diff(schedule.poisson(20_000, rate=5, seed=1))
    assert gaps.min() >= 0
    assert gaps.mean() == pytest.approx(0.2, rel=0.03)
    assert gaps.std() == pytest.approx(0.2, rel=0.03)


def test_poisson_is_the_same_for_the_same_seed():
    assert (schedule.poisson(10, 1, seed=3) == schedule.poisson(10, 1, seed=3)).all()
    assert (schedule.poisson(10, 1, seed=3) != schedule.poisson(10, 1, seed=4)).any()


def test_poisson_fills_a_duration_in_order():
    offsets = schedule.poisson(1, rate=50, seed=1, duration=100)
    assert len(offsets) == pytest.approx(5_000, rel=0.05)
    assert (np.diff(offsets) >= 0).all()
    assert offsets[0] >= 0
    assert offsets[-1] < 100


def test_trace_reads_offsets_and_comments(tmp_path):
    path = tmp_path / "trace.txt"
    path.write_text("# three\n0\n0.25  # the second\n\n0.25\n")
    assert schedule.trace(path).tolist() == [0, 0.25, 0.25]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0\nsoon\n", r"line 2: 'soon' is not"),
        ("1\n0.5\n", r"line 2: '0.5' is not"),
        ("-1\n", r"line 1: '-1' is not"),
        ("inf\n", r"line 1: 'inf' is not"),
        ("# nothing\n", "no offsets"),
    ],
)
def test_trace_says_what_is_wrong_with_a_file(tmp_path, text, says):
    path = tmp_path / "trace.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=says):
        schedule.trace(path)


def test_trace_says_that_there_is_no_file(tmp_path):
    with pytest.raises(ValueError, match="can't be read"):
        schedule.trace(tmp_path / "none.txt")


LINES = st.one_of(
    st.floats(0, 1e6).map(str),
    st.integers(-5, 10**30).map(str),
    st.text(max_size=12),
    st.sampled_from(["#", "nan", "1_0"]),
)


@given(st.binary(max_size=200) | st.lists(LINES, max_size=8).map("\n".join).map(str.encode))
def test_any_file_is_a_trace_or_is_refused_by_the_line(text):
    with tempfile.NamedTemporaryFile() as file:
        file.write(text)
        file.flush()
        try:
            offsets = schedule.trace(file.name)
        except ValueError as error:
            assert re.search(r", line \d+: .* is not a number of seconds|has no offsets|can't be read", str(error)), (
                error
            )
            assert "\n" not in str(error)
            return
    assert len(offsets)
    assert (offsets >= 0).all() and (np.diff(offsets) >= 0).all() and np.isfinite(offsets).all()


@pytest.mark.parametrize("path", ["/dev/zero", "a\0b", ""])
def test_what_is_no_file_is_no_trace(path):
    with pytest.raises(ValueError, match=r"^The trace .* can't be read: [^\n]*\.$"):
        schedule.trace(path)


def test_a_pipe_that_nobody_writes_into_is_no_trace(tmp_path):
    os.mkfifo(path := tmp_path / "pipe")
    with pytest.raises(ValueError, match="can't be read: it is not a file"):
        schedule.trace(path)


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    with (path := tmp_path / "trace.txt").open("wb") as file:
        file.truncate(schedule.MAX_TRACE_BYTES + 1)
    with pytest.raises(ValueError, match="can't be read: it has more than 100 MB"):
        schedule.trace(path)


@given(st.integers(1, 200), st.floats(1e-3, 1e5), st.integers(0, 2**32), st.just(0.0) | st.floats(1e-3, 1.0))
def test_schedules_ascend_from_zero_and_end_in_time(broadcasts, rate, seed, duration):
    for offsets in (schedule.constant(broadcasts, rate, duration), schedule.poisson(broadcasts, rate, seed, duration)):
        assert offsets.dtype == float and np.isfinite(offsets).all()
        assert (offsets >= 0).all() and (np.diff(offsets) >= 0).all()
        assert duration or len(offsets) == broadcasts
        assert not duration or (offsets < duration).all()
