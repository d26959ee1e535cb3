"""An error of the load test's own, and a clock that is set, end it."""

import pandas as pd
import pytest

from tests.support.failures import BROADCASTS, PEOPLE, checked_summary
from tests.support.load_tests import wrong_clock


def raising(name, after):
    """A locustfile's code that makes a method fail when it has been called so many times."""
    where, _, method = name.rpartition(".")
    module, _, kind = where.rpartition(".")
    return f"""
        from {module} import {kind}
        original, calls = {kind}.{method}, []
        def broken(self, *arguments, **named):
            calls.append(1)
            if len(calls) > {after}:
                raise RuntimeError("injected")
            return original(self, *arguments, **named)
        {kind}.{method} = broken
    """


OWN = {
    "the coordinator, as it plans": ("loadtest.load_test.LoadTest._broadcast", 0, 0),
    "the coordinator, as it waits for deliveries": ("loadtest.load_test.LoadTest._is_drained", 0, BROADCASTS),
    "the coordinator, at a generator's progress": ("loadtest.collector.Collector.add_progress", 8, 1),
    "the coordinator, at deliveries": ("loadtest.collector.Collector.add_deliveries", 3, 1),
    "the coordinator, as it collects": ("loadtest.collector.Collector.is_complete", 0, BROADCASTS),
    "the coordinator, as all leave": ("loadtest.load_test.LoadTest._leave", 0, BROADCASTS),
    "the generator, as it receives": ("loadtest.connections.Receiver.handle", 60, 3),
    "the generator, as it sends": ("loadtest.connections.Sender._sleep_until", 5, 4),
    "the generator, as it reports": ("loadtest.generator.Part._send_progress", 10, 1),
    "the generator, as it measures itself": ("loadtest.generator.Part._watch_cpu", 0, 0),
}
OFTEN = ["the generator, as it receives"]


def own_error(failure, name):
    where, after, at_least = OWN[name]
    failure.begin(raising(where, after))
    test = failure.end()
    assert test.status == 1
    assert test.errors[-1].endswith("RuntimeError: injected") or "did not hand over" in test.errors[-1], test.output
    assert checked_summary(test)["delivered"] >= at_least * PEOPLE * 0.8
    assert len(failure.written()) >= at_least * PEOPLE * 0.8


@pytest.mark.parametrize("name", OFTEN)
def test_an_error_of_its_own_ends_it(failure, name):
    own_error(failure, name)


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in OWN if name not in OFTEN])
def test_any_error_of_its_own_ends_it(failure, name):
    own_error(failure, name)


@pytest.mark.long
def test_when_the_result_fails_the_records_are_there(failure):
    failure.begin(
        """
        from loadtest import results
        def broken(**tables):
            raise RuntimeError("injected")
        results.assemble = broken
        """
    )
    test = failure.end()
    assert (test.status, test.errors[-1]) == (1, "The load test failed by an error of its own: RuntimeError: injected")
    assert not (failure.folder / "summary.json").exists()
    assert len(failure.written()) == PEOPLE * BROADCASTS
    assert len(pd.read_parquet(failure.folder / "connections.parquet")) == PEOPLE


@pytest.mark.parametrize(
    "seconds", [3600, pytest.param(-3600, marks=pytest.mark.long)], ids=["a clock set forward", "a clock set back"]
)
def test_a_clock_that_is_set_in_the_middle_ends_it(failure, seconds):
    """As by NTP, or as after sleep. The clock is set within the process: a test cannot set the machine's."""
    failure.begin(
        wrong_clock(seconds) + "when_sent(5, set_clock)",
    )
    test = failure.end()
    assert test.status == 1
    assert f"this machine's clock was set by {seconds:+,.1f} s, or it slept" in test.errors[-1]
    assert failure.seconds < 30
    assert len(failure.written()) >= PEOPLE
