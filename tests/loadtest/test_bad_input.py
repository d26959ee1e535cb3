"""What cannot work is said in one sentence, with an exit status that is not 0."""

import socket
from contextlib import contextmanager, nullcontext

import pytest

from loadtest.calibration import reference_server
from tests.support.load_tests import refusing

FEW = "--users 5 --broadcasts 3 --broadcast-rate 10 --warm-up 0".split()


def said(test):
    assert test.status != 0
    assert "Traceback" not in test.output
    (error,) = test.errors
    return error


@contextmanager
def silent():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"ws://127.0.0.1:{server.getsockname()[1]}/chat"


@pytest.mark.parametrize(
    ("listening", "why"),
    [
        (nullcontext("ws://127.0.0.1:1/chat"), "Connection refused."),
        (refusing(403), "handshake refused with status 403."),
        (silent(), "no answer within 1 s."),
    ],
    ids=["nobody listens", "a refused handshake", "a server that accepts and says nothing"],
)
def test_none_can_connect(run, listening, why):
    with listening as url:
        test = run("--host", url, *FEW, "--connect-timeout", 1)
    assert said(test) == f"None of the first 5 connections to {url} could be made: {why}"
    assert test.summary["connections_failed"] == 5
    assert test.statistics["connect"]["num_failures"] == 5


def test_some_connections_are_refused(run, server):
    server.max_connections = 3
    test = run("--host", server.url, *FEW)
    assert said(test) == "The test is not complete: 2 of 5 connections could not be made."
    assert test.summary["delivered"] == 9


def test_a_handshake_that_is_refused_for_now_is_made_again(run, server):
    server.refusals = [500, 503, 429, 500]
    test = run("--host", server.url, *FEW)
    assert test.status == 0, test.output
    assert test.summary["refusals"] == {"status 429": 1, "status 500": 2, "status 503": 1}
    assert (test.summary["connections"], test.summary["delivered"]) == (5, 15)
    assert test.result.connections["refused"].sum() == 4
    assert test.statistics["connect"]["num_failures"] == 4


def test_a_server_that_always_refuses_is_given_up_with_the_likely_reason(run):
    with refusing(500) as url:
        test = run("--host", url, *FEW, "--retry-time", 0.5)
    assert "could be made: handshake refused with status 500. " in said(test)
    assert "At API Gateway the reason is Lambda, which runs as many invocations as it may" in said(test)


def test_a_broadcast_that_is_answered_with_an_error_is_counted_and_named(run, server):
    server.errors = 2  # the warm-up's, and the first of the three
    test = run("--host", server.url, *FEW, "--warm-up", 1, "--drain-time", 0.5)
    sentence = said(test)
    assert "1 of 3 broadcasts were answered with an error. 2 messages were answered with an error (2 x Int" in sentence
    assert test.summary["error_frames"] == {"Internal server error": 2}
    assert (test.summary["broadcasts"], test.summary["expected"], test.summary["missing"]) == (2, 10, 0)
    assert test.summary["foreign"] == 0
    assert test.result.broadcasts["error"].notna().tolist() == [True, True, False, False]


def test_of_a_server_that_repeats_itself_only_so_many_copies_are_recorded(run):
    few = "from loadtest import connections\nconnections.MAX_COPIES = 4\n"
    with reference_server.run(reference_server.Faults(double=1)) as server:
        test = run("--host", server.url, *FEW, code=few)
    assert (test.summary["delivered"], test.summary["duplicate"], test.summary["foreign"]) == (15, 4, 11), test.output


def test_what_was_said_to_an_earlier_test_or_twice_does_nothing_to_this_one(run, server):
    late = """
        from loadtest import exchange
        send = exchange.send
        def send_late_ones_too(runner, message, client_id=None):
            send(runner, message, client_id)
            if isinstance(message, exchange.Plan):
                send(runner, message, client_id)
                for kind in (exchange.Halt, exchange.Leave):
                    send(runner, kind("an earlier one"), client_id)
        exchange.send = send_late_ones_too
    """
    test = run("--host", server.url, *FEW, code=late)
    summary = test.summary
    assert (test.status, summary["delivered"], summary["duplicate"], summary["connections_left"]) == (0, 15, 0, 0)


def test_a_test_has_an_end_in_connections_too(run, server):
    test = run("--host", server.url, *FEW, "--churn", 0.9, "--broadcasts", 100, "--max-handshakes", 8)
    assert said(test) == "The test was stopped: more than 8 connections were tried (--max-handshakes)."
    assert test.summary["connections"] < 30


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--results", "/proc/none"], "The folder /proc/none for the results cannot be written"),
        (["--processes", "2", "--shape", "steps"], "--shape steps needs --steps"),
    ],
)
def test_an_argument_that_cannot_be(run, words, says):
    assert says in said(run("--host", "ws://127.0.0.1:1/chat", *FEW, *words))
