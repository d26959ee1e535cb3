"""What a load test can be asked to do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest import arguments
from tests.support.load_tests import URL, Parser, settings


def test_defaults_are_a_small_test():
    chosen = settings()
    assert (chosen.total_broadcasts, chosen.warm_up, chosen.phases) == (20, 2, (10,))
    assert chosen.max_connection_rate < 500


def test_every_argument_has_a_help_text_and_a_default_of_its_type():
    parser = Parser()
    arguments.add(parser)
    for action in parser._actions[1:]:
        assert action.help
        assert action.default is not None
        assert isinstance(action.default, action.type or str)


def test_the_warm_up_leaves_before_the_others_and_apart_from_them():
    chosen = settings("--warm-up", "2", "--broadcasts", "3", "--broadcast-rate", "10")
    assert chosen.with_warm_up() == pytest.approx([0, 0.1, 1.1, 1.2, 1.3])
    assert chosen.with_warm_up(phase=1) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_no_warm_up_is_possible():
    assert settings("--warm-up", "0", "--broadcasts", "3").with_warm_up().tolist() == [0, 1, 2]


def test_those_who_speak_stay_so_somebody_else_has_to_leave():
    assert settings("--churn", "0.05", "--speakers", "9").churn == 0.05
    with pytest.raises(ValueError, match="more connections than --speakers, which stay: 10 are not more than 10"):
        settings("--churn", "0.05", "--speakers", "10")


def test_steps_are_phases():
    chosen = settings("--shape", "steps", "--steps", "5,10,20", "--broadcasts", "7")
    assert chosen.phases == (5, 10, 20)
    assert chosen.total_broadcasts == 21


def test_a_trace_is_cut_at_the_duration(tmp_path):
    path = tmp_path / "trace.txt"
    path.write_text("0\n1\n2\n3\n")
    chosen = settings("--arrivals", "trace", "--trace", str(path), "--duration", "2")
    assert np.array_equal(chosen.schedule, [0, 1])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--broadcast-rate", "-1"], "--broadcast-rate must be more than 0, not -1.0"),
        (["--broadcast-rate", "nan"], "--broadcast-rate must be a finite number"),
        (["--duration", "inf"], "--duration must be a finite number"),
        (["--broadcasts", "0"], "--broadcasts must be more than 0"),
        (["--speakers", "0"], "--speakers must be more than 0"),
        (["--warm-up", "-1"], "--warm-up cannot be negative"),
        (["--drain-time", "-1"], "--drain-time cannot be negative"),
        (["--payload-bytes", "32769"], "32768 at most"),
        (["--max-message-bytes", "1000"], "--max-message-bytes must be 32768 at least"),
        (["--payload-bytes", "-1"], "--payload-bytes cannot be negative"),
        (["--shape", "steps"], "--shape steps needs --steps"),
        (["--shape", "steps", "--steps", "10,5"], "growing numbers"),
        (["--steps", "a,b"], "takes numbers with commas"),
        (["--arrivals", "trace"], "can't be read"),
        (["--arrivals", "poisson", "--duration", "1e-9"], "The schedule is empty"),
        (["--ca-file", "/no/such.pem"], "There is no file '/no/such.pem'"),
        (["--seed", "-1"], "--seed cannot be negative"),
        (["--speakers", "3000000000"], "--speakers can be 1,000,000 at most, not 3000000000"),
        (["--drain-time", "1e9"], "--drain-time can be 604,800 at most, not 1000000000.0"),
        (["--churn", "1.5"], "--churn can be 1 at most, not 1.5"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(words, says):
    with pytest.raises(ValueError, match=says) as caught:
        settings(*words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "words",
    [
        ["--broadcasts", "1000000000000"],
        ["--warm-up", "1000000000000"],
        ["--duration", "1e18"],
        ["--duration", "1e18", "--arrivals", "poisson"],
        ["--duration", "600000", "--broadcast-rate", "1e300"],
        ["--duration", "600000", "--broadcast-rate", "1e6", "--arrivals", "poisson"],
        ["--broadcast-rate", "1e-320"],
        ["--broadcast-rate", "1e-9", "--arrivals", "poisson"],
        ["--broadcasts", "600000", "--broadcast-rate", "100000", "--shape", "steps", "--steps", "100,200"],
    ],
)
def test_what_would_not_end_or_not_fit_into_memory_is_refused_at_once(words):
    with pytest.raises(ValueError, match=r"^(--[a-z-]+ can be|The last broadcast|That would be) [^\n]*\.$"):
        settings(*words)


def test_a_trace_that_would_not_end_is_refused(tmp_path):
    (path := tmp_path / "trace.txt").write_text("0\n1e300\n")
    with pytest.raises(ValueError, match="The last broadcast would be due after"):
        settings("--arrivals", "trace", "--trace", str(path))


ANY_INT, ANY_FLOAT, ANY_TEXT = st.integers(-(10**20), 10**20) | st.integers(-2, 100), st.floats(), st.text(max_size=30)
OPTIONS = {
    "--broadcasts": ANY_INT, "--broadcast-rate": ANY_FLOAT, "--duration": ANY_FLOAT, "--warm-up": ANY_INT,
    "--speakers": ANY_INT, "--payload-bytes": ANY_INT, "--arrivals": st.sampled_from(["constant", "poisson", "trace"]),
    "--trace": ANY_TEXT, "--seed": ANY_INT, "--drain-time": ANY_FLOAT, "--shape": st.sampled_from(arguments.SHAPES),
    "--steps": ANY_TEXT | st.lists(st.integers(-1, 10**7), max_size=4).map(lambda steps: ",".join(map(str, steps))),
    "--connect-timeout": ANY_FLOAT, "--retry-time": ANY_FLOAT, "--max-handshakes": ANY_INT, "--churn": ANY_FLOAT,
    "--max-connection-rate": ANY_FLOAT, "--max-message-bytes": ANY_INT, "--ca-file": ANY_TEXT, "--results": ANY_TEXT,
}  # fmt: skip


def is_taken(drawn, url=URL, users=10):
    """Whether these options make Settings, whose schedule can then be kept; what is refused is in one sentence."""
    try:
        chosen = settings(*(f"{name}={value}" for name, value in drawn.items()), url=url, users=users)
    except ValueError as error:
        assert str(error).endswith(".") and "\n" not in str(error), error
        return False
    for phase in range(2):
        offsets = chosen.with_warm_up(phase)
        assert offsets.shape == (chosen.warm_up + len(chosen.schedule),)
        assert offsets[0] >= 0 and (np.diff(offsets) >= 0).all() and offsets[-1] <= arguments.MAX_S
    assert len(offsets) * sum(chosen.phases) <= arguments.MAX_DELIVERIES
    return True


@given(st.fixed_dictionaries({}, optional=OPTIONS))
def test_any_options_are_taken_or_refused_in_one_sentence(drawn):
    is_taken(drawn)


@given(st.sampled_from(sorted(OPTIONS)).flatmap(lambda name: st.fixed_dictionaries({name: OPTIONS[name]})))
def test_any_value_of_one_option_is_taken_or_refused_in_one_sentence(drawn):
    """Most of the options together are refused for one of them: here each is alone."""
    is_taken(drawn)


@given(ANY_TEXT | st.text("ws:/[]@.1a", max_size=20).map("ws://{}".format), ANY_INT)
def test_any_url_and_number_of_users_is_taken_or_refused_in_one_sentence(url, users):
    is_taken({}, url, users)


@pytest.mark.parametrize("url", ["", "http://127.0.0.1/", "ws:///x", "chat", "ws://[::1", "ws://host:99999/"])
def test_the_host_has_to_be_a_websocket_url(url):
    with pytest.raises(ValueError, match="--host takes the chat's URL"):
        settings(url=url)


def test_users_have_to_be_some():
    with pytest.raises(ValueError, match="--users must be more than 0"):
        settings(users=-3)
