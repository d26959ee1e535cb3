"""The search for how many people a server carries: its rule by simulation, the search on servers that are known."""

import os
import random
import re
import threading
from contextlib import ExitStack
from types import SimpleNamespace

import numpy as np
import pytest

from chatlab import cli
from loadtest import capacity, live, results
from loadtest.calibration import reference_server
from loadtest.calibration.reference_server import Faults
from loadtest.capacity import FINAL, Goal, Search, Step, builds_up, decide
from loadtest.errors import LoadTestError
from loadtest.verdict import DRIFT_P
from tests.support.load_tests import refusing

GOAL = Goal(within_s=0.5, rate=20)


def decided(share, is_final, chance):
    """The rule's answer for broadcasts of which this share is late, and how many it needed."""
    late = []
    while (holds := decide(late, is_final)) is None:
        late.append(chance.random() < share)
    return holds, len(late)


@pytest.mark.parametrize(
    ("is_final", "share", "holds", "at_least", "at_most"),
    [
        (False, 0.01, True, 1 - 0.021, 40),  # Wald: an error is at most 2 % / (1 - 5 %) here,
        (False, 0.2, False, 1 - 0.051, 14),  # and 5 % / (1 - 2 %) here
        (True, 0.002, True, 0.98, FINAL),
        (True, 0.05, False, 0.96, FINAL),
    ],
)
def test_the_rule_errs_as_rarely_as_it_says_and_needs_few_broadcasts(is_final, share, holds, at_least, at_most):
    chance = random.Random(1)
    answers, lengths = zip(*(decided(share, is_final, chance) for _ in range(4_000)), strict=True)
    assert np.mean([answer is holds for answer in answers]) > at_least - 0.005
    assert np.mean(lengths) <= at_most and max(lengths) <= FINAL


def test_a_queue_that_builds_up_is_told_from_noise():
    # Each message takes 12 ms longer than the one before: number 100 has to wait for 1.5 s.
    times = 300 + 12 * np.arange(14) + np.random.default_rng(1).normal(0, 20, (100, 14))
    assert np.mean([builds_up(row, 1_000) for row in times]) > 0.99
    assert np.mean([builds_up(row, 2_000) for row in times]) < 0.01
    steady = 850 + np.random.default_rng(2).normal(0, 60, (800, 14))
    assert np.mean([builds_up(row, 1_000) for row in steady]) < 2 * DRIFT_P


class Simulated(Search):
    """A search without load tests: a room holds up to `carries` people, and somebody presses Ctrl-C `after` steps."""

    carries, wrong, unlucky, after = 1_234, (), 0, 100

    def _try(self, step):
        self._found.steps.append(step)
        if len(self._found.steps) > self.after:
            raise KeyboardInterrupt
        step.holds = step.people <= self.carries and not (step.is_final and step.people in self.wrong)
        if step.people == self.unlucky:
            step.holds, self.unlucky = False, 0
        step.late, step.limit = [False] * (FINAL if step.is_final else 14), "" if step.holds else "it is slow"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, r"^1,200 to 1,300 people .* with 1,200, 100 of 100 .* What ends it with 1,300: it is slow\.$"),
        ({"wrong": (1_200,)}, r"^1,100 to 1,200 people"),  # what held by chance is found out at the end
        ({"unlucky": 800}, r"^1,200 to 1,300 people"),  # and what failed by chance before it
        ({"carries": 3}, r"^3 to 4 people"),
        ({"most": 500}, r"^At least 500 people .* 100 of 100 .* ended early: more than 500 were not tried\.$"),
        ({"after": 4}, r"^At least 400 people .* 14 of 14 .* ended early: it was stopped\.$"),
        ({"minutes": 0.1}, r"^An unknown number .* ended early: the 0\.1 minutes were over \(MINUTES\)\.$"),
        (
            {"price": lambda people, broadcasts, seconds: people * broadcasts / 50_000, "_dollars": 0.9},
            r"^At least 50 people .* 100 of 100 .* could have cost over 1\.00 US dollars \(MAX_DOLLARS\)\.$",
        ),
    ],
)
def test_it_doubles_halves_and_says_what_it_knows_however_it_ends(tmp_path, options, says):
    search = Simulated("ws://127.0.0.1:1", tmp_path, Goal(), 450, minutes=options.get("minutes", 10))
    vars(search).update(options)
    assert re.search(says, f"{search.run()}")


def test_it_grows_fourfold_only_where_that_would_take_half_of_the_time(tmp_path):
    class Timed(Simulated):
        def _try(self, step):
            super()._try(step)
            step.last_ms = [1.0 * step.people]

    steps = Timed("ws://127.0.0.1:1", tmp_path, Goal(), 450).run().steps
    assert [step.people for step in steps[:6]] == [50, 200, 500, 1_000, 2_000, 1_500]


@pytest.fixture
def find(fork_server, monkeypatch, tmp_path):
    """`find(url)`: what a search finds, with load tests that are forked; its folder is `tmp_path`."""

    def forked(*test, **options):
        return fork_server.locust(live.words(*test, **options), os.environ, tmp_path / "output.txt")

    monkeypatch.setattr(live, "begin", forked)
    monkeypatch.setattr(capacity, "PRECISION", 0.5)
    monkeypatch.setattr(capacity, "MAX_GROWTH", 2.0)  # so that the rooms are the same on a fast machine
    monkeypatch.setattr(capacity.psutil, "cpu_percent", lambda: 50.0)  # however busy the tests are
    return lambda url: Search(url, tmp_path, GOAL, 450, start=20).run()


def test_a_known_capacity_is_found_and_whose_limit_it_is(find, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CHATLAB_RUN", str(tmp_path))
    with reference_server.run(Faults(delay_ms=lambda _, n: np.full(n, 16.0 * n))) as server:
        options = {"--host": server.url, "--rate": "20", "--connection-rate": "450"}
        assert cli.main(["capacity", *sum(options.items(), ())]) == 0
    sentence = (
        r"50 to 75 people hear a message within 1 s, at 20 messages a second: with 50, (99|100) of 100 broadcasts "
        r"were in time, nothing missing\. What ends it with 75: the server answers slowly\."
    )
    assert re.search(rf"\n{sentence}\nAll of it: ", capsys.readouterr().out)
    page = (tmp_path / "report.html").read_text()
    assert re.search(sentence, page) and "<h1>How many people does it carry?</h1>" in page
    assert page.count("data:image/png") == 1 and "<td>0 of 14</td>" in page

    # The same result, if the load test was late itself, or the machine busy.
    (folder,) = tmp_path.glob("capacity/02-100-*")
    result = results.load(folder)
    result.summary["send_late_ms"]["p99"] = 700.0
    for cpu_percent, limit in ((50, "itself is late by 7"), (99, "99 % busy")):
        Search("", tmp_path, Goal(rate=20), 450)._judge(step := Step(100), result, cpu_percent)
        assert step.limit.startswith("this machine") and limit in step.limit

    # All of them in time, but each later than the one before.
    result = results.load(folder)
    result.broadcasts["last_ms"] = np.linspace(100, 600, len(result.broadcasts))
    Search("", tmp_path, Goal(rate=20), 450)._judge(step := Step(100), result, 50)
    assert step.holds is False and step.limit == "a queue builds up; the server answers slowly"

    # Nobody heard anything.
    result.broadcasts["last_ms"] = np.nan
    result.summary["missing"] = result.summary["expected"]
    Search("", tmp_path, Goal(rate=20), 450)._judge(step := Step(100), result, 50)
    assert step.holds is False and "deliveries are missing" in step.limit


def test_a_server_that_loses_deliveries_above_a_size_ends_it(find):
    class Losing(SimpleNamespace):
        """Two deliveries in a hundred, above 35 people."""

        @property
        def drop(self):
            return 0.02 * (len(server.ports) > 35)

    with reference_server.run() as server:
        server.faults = Losing(delay_ms=None, double=0.0, reorder=0.0)
        found = find(server.url)
    assert (found.low.people, found.high.people) == (30, 40), found
    assert "deliveries are missing" in found.high.limit


def test_a_server_that_dies_leaves_what_is_known(find):
    with ExitStack() as stack:

        def delay_ms(_, n):
            if n > 30 and len(server.received) % 8 == 0:
                threading.Thread(target=stack.close).start()
            return np.zeros(n)

        server = stack.enter_context(reference_server.run(Faults(delay_ms=delay_ms)))
        found = find(server.url)
    assert (found.low.people, found.high.people) == (20, 40)
    assert "connections dropped" in found.high.limit
    assert "could be made: Connection refused" in found.ended


def test_a_server_that_lets_nobody_in_is_an_error(find):
    with refusing(403) as url, pytest.raises(LoadTestError, match="could be made: handshake refused with status 403"):
        find(url)
