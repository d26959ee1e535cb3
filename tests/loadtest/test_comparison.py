"""Faster, or noise: what two results say."""

import dataclasses
import json
import re
from itertools import pairwise

import numpy as np
import pytest

from chatlab import LabError, cli
from loadtest import comparison, results
from tests.support.measured import result_of


def result(seed, slower_ms=0.0, broadcasts=31, connections=40, **settings):
    """Latencies of 20 to 60 ms; all of a broadcast's are late together by some milliseconds."""
    random = np.random.default_rng(seed)
    own_ms = random.gamma(4, 2, size=(broadcasts, 1))
    return result_of(20 + slower_ms + own_ms + random.gamma(4, 3, size=(broadcasts, connections)), **settings)


def compare(first, second):
    """One run of each."""
    return comparison.compare([first], [second])


def findings(compared):
    return compared.table["finding"].to_dict()


def test_what_is_faster_or_slower_is_found_with_its_size():
    slow, fast = result(1, slower_ms=10), result(2)
    there, back = compare(slow, fast), compare(fast, slow)
    assert findings(there)["latency p50"] == findings(there)["time to last delivery p50"] == "faster this time"
    row = there.table.loc["latency p50"]
    assert row["low"] < 1 - 10 / row["before_ms"] < row["high"] < 1
    assert there.conclusion.startswith("The second was faster this time in latency p50 (0.")
    assert back.table["difference_ms"].to_numpy() == pytest.approx(-there.table["difference_ms"].to_numpy())
    assert back.conclusion.startswith("The second was slower this time in latency p50 (1.")


def test_where_there_is_no_difference_one_is_seldom_found(monkeypatch):
    """1 time in 20 if the intervals are right, for each quantity."""
    monkeypatch.setattr(comparison, "RESAMPLES", 400)
    alike = [findings(compare(result(2 * k), result(2 * k + 1))) for k in range(12)]
    for quantity in (*comparison.LATENCY_QUANTILES, comparison.LAST_DELIVERY):
        found = sum(each[quantity] in comparison.ONCE for each in alike)
        assert found <= 3, quantity  # what happens once in 20 times happens in more than 3 of 12 once in 450 times


SPREAD = 0.1  # of the logarithm, among runs of the same code; those of docs/loadtest.md had 0.16


def test_one_run_of_each_takes_what_differs_from_run_to_run_for_a_difference(monkeypatch):
    """So the interval of broadcasts within one run is too narrow for the code, and the conclusion claims nothing."""
    monkeypatch.setattr(comparison, "RESAMPLES", 400)
    random = np.random.default_rng(4)
    runs = [result_of(np.exp(random.normal(0, SPREAD)) * random.gamma(400, 0.1, size=(21, 5))) for _ in range(9)]
    pairs = [compare(*pair) for pair in pairwise(runs)]
    assert sum(findings(pair)[comparison.LAST_DELIVERY] in comparison.ONCE for pair in pairs) >= 5
    assert all(comparison.ONE_RUN in pair.conclusion for pair in pairs)


@pytest.mark.parametrize(("of_first", "of_second"), [(3, 3), (5, 5), (3, 5)])
def test_several_runs_of_each_are_called_different_1_time_in_20_if_they_are_alike(of_first, of_second):
    """And a slowdown of the size that is said to be found is found in 8 of 10. 4,000 comparisons, a column for each."""
    random = np.random.default_rng(5)
    first, second = (np.exp(random.normal(4, SPREAD, size=(runs, 4_000))) for runs in (of_first, of_second))
    low, high, found = comparison.welch(first, second)
    assert 0.94 < np.mean((low < 1) & (high > 1)) < 0.98
    slower = np.exp(np.sqrt(np.mean(np.log(found) ** 2)))  # the variance of a few runs is right on average
    assert 0.78 < np.mean(comparison.welch(first, second * slower)[0] > 1) < 0.82


def test_several_runs_of_each_give_one_finding_with_its_size_and_what_would_be_found():
    slow, fast = ([result(seed, ms) for seed in range(first, first + 3)] for first, ms in ((1, 30), (4, 0)))
    compared = comparison.compare(fast, slow)
    fast_ms, slow_ms = (np.mean([each.summary["last_delivery_ms"]["p50"] for each in runs]) for runs in (fast, slow))
    low, high = compared.table.loc[comparison.LAST_DELIVERY, ["low", "high"]]
    assert 1 < low < slow_ms / fast_ms < high and set(findings(compared).values()) == {"slower"}
    assert re.search(r"^The second takes 1.*\(1.*\), so it is slower\. 8 of 10 .* \d+ %\.$", compared.conclusion)
    assert ", which may be noise. " in comparison.compare(fast, fast).conclusion
    with pytest.raises(ValueError, match=r"^Give one run of each, or several of each"):
        comparison.compare(fast, slow[:1])


def test_of_many_deliveries_some_give_nearly_the_same_interval(monkeypatch):
    slow, fast = result(1, slower_ms=10), result(2)
    whole = compare(slow, fast).table
    monkeypatch.setattr(comparison, "MAX_RESAMPLED", 500)
    some = compare(slow, fast).table
    assert some["difference_ms"].equals(whole["difference_ms"])
    middle = ["latency p50", "latency p90"]
    assert np.allclose(some.loc[middle, ["low", "high"]], whole.loc[middle, ["low", "high"]], atol=0.03)


def test_noise_is_called_noise_and_a_few_broadcasts_say_nothing():
    same = compare(result(1), result(1))
    assert same.table["difference_ms"].eq(0).all()
    assert same.conclusion.startswith("Neither is faster as far as these broadcasts can tell")
    few = compare(result(1, slower_ms=100, broadcasts=6), result(2))
    assert set(findings(few).values()) == {"too few broadcasts to tell"}


def test_how_many_times_sooner_has_an_interval_that_holds_the_truth():
    random = np.random.default_rng(3)
    fast, slow = (result_of(factor * random.gamma(40, 2, size=(20, 40))) for factor in (1, 3))
    there, back = comparison.times_sooner(slow, fast), comparison.times_sooner(fast, slow)
    assert there.low < 3 < there.high and there.high - there.low < 1
    assert there.low < there.value < there.high and back.value == pytest.approx(1 / there.value)
    assert str(there) == f"{there.value:.1f} times sooner ({there.low:.1f} to {there.high:.1f})"
    assert re.fullmatch(r"(\S+) times later \(\S+ to \S+\)", str(back))[1] == f"{there.value:.1f}"
    assert str(comparison.times_sooner(result(1), result(5))).startswith("as far as these broadcasts can tell, no")
    with pytest.raises(ValueError, match=r"^There is nothing to compare"):
        comparison.times_sooner(fast, result(1, connections=0))


def test_what_was_not_measured_alike_is_said():
    compared = compare(result(1, payload_bytes=2_000), result(2, connections=20, broadcast_rate=1.0, storm="page"))
    assert compared.warnings[0] == (
        "These did not measure the same: connections 40 and 20, payload (bytes) 2000 and 200, broadcasts a second 2 "
        "and 1 and storm none and page."
    )


def test_only_what_both_measured_is_compared():
    """Of a load test in steps, the broadcasts to as many connections."""
    both = result(1)
    more = both.broadcasts.assign(expected=np.where(both.broadcasts["broadcast"] > 15, 99, 40))
    compared = compare(dataclasses.replace(both, broadcasts=more), result(2, slower_ms=50))
    assert compared.warnings[0] == "Compared are the broadcasts to 40 connections only, which all have."
    kept = both.deliveries.query("not warm_up and broadcast <= 15")["latency_ms"]
    assert compared.table.loc["latency p90", "before_ms"] == pytest.approx(kept.quantile(0.9))


def test_a_result_that_does_not_trust_itself_is_named():
    lossy = np.full((10, 10), 20.0)
    lossy[3, 3] = np.nan
    compared = compare(result_of(lossy), result_of(np.full((10, 10), 20.0)))
    assert compared.warnings[-1].startswith("The first does not trust itself: 1 of 90 deliveries never arrived")


def test_the_command_compares_two_runs(tmp_path, capsys):
    for name, slower_ms in (("before", 10), ("after", 0)):
        made = result(1, slower_ms=slower_ms)
        results.write(tmp_path / name / "load_test", made.tables(), made.summary)
    assert cli.main(["compare", str(tmp_path / "before"), str(tmp_path / "after" / "load_test")]) == 0
    printed = capsys.readouterr().out
    assert "-10.0 ms" in printed and "faster this time" in printed and "The second was faster this time" in printed
    assert "One run of each says how broadcasts differ, not how runs do" in printed


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["compare", "here", "there"], "There are no results in here"),
        (["compare", "here"], "Give two runs, or several and, after --with, several others"),
        (["compare", "here", "there", "here", "--with", "a", "b"], "The run here is given twice"),
        (["compare", "broken", "broken"], "The results in broken can't be read: "),
    ],
)
def test_a_mistake_is_one_sentence(arguments, sentence, tmp_path, monkeypatch):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "summary.json").write_text(json.dumps({}))
    for table in results.TABLES:
        (tmp_path / "broken" / f"{table}.parquet").write_bytes(b"no parquet")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LabError) as error:
        cli.main(arguments)
    assert str(error.value).startswith(sentence) and "\n" not in str(error.value)
