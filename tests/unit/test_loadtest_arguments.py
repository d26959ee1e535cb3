"""What a load test can be asked to do."""

import argparse

import numpy as np
import pytest

from loadtest import arguments
from loadtest.arguments import Settings

URL = "ws://127.0.0.1:1/chat"


class Parser(argparse.ArgumentParser):
    """Takes what Locust's parser takes beyond argparse's."""

    def add_argument(self, *names, include_in_web_ui=True, **options):
        return super().add_argument(*names, **options)


def settings(*words, url=URL, users=10):
    parser = Parser()
    arguments.add(parser)
    return Settings.from_options(parser.parse_args(words), url, users)


def test_defaults_are_a_small_test():
    chosen = settings()
    assert (chosen.broadcasts_in_all, chosen.warm_up, chosen.phases) == (20, 2, (10,))
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
    assert chosen.broadcasts_in_all == 21


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
        (["--payload-bytes", "-1"], "--payload-bytes cannot be negative"),
        (["--shape", "steps"], "--shape steps needs --steps"),
        (["--shape", "steps", "--steps", "10,5"], "growing numbers"),
        (["--steps", "a,b"], "takes numbers with commas"),
        (["--arrivals", "trace"], "cannot be read"),
        (["--arrivals", "poisson", "--duration", "1e-9"], "The schedule is empty"),
        (["--ca-file", "/no/such.pem"], "There is no file /no/such.pem"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(words, says):
    with pytest.raises(ValueError, match=says) as caught:
        settings(*words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["", "http://127.0.0.1/", "ws:///x", "chat"])
def test_the_host_has_to_be_a_websocket_url(url):
    with pytest.raises(ValueError, match="--host takes the chat's URL"):
        settings(url=url)


def test_users_have_to_be_some():
    with pytest.raises(ValueError, match="--users must be more than 0"):
        settings(users=-3)
