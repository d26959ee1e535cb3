"""When you can trust a result."""

import numpy as np
import pandas as pd
import pytest

from loadtest import verdict
from loadtest.results import Result

GOOD = {
    "expected": 2_000,
    "delivered": 2_000,
    "missing": 0,
    "dropped": 0,
    "latency_ms": {"p50": 10.0, "p90": 15.0, "p99": 20.0, "max": 21.0},
    "interval_95": {"latency_ms": {"p50": [9.0, 11.0], "p90": [14.0, 16.0], "p99": [19.0, 21.0]}},
    "send_late_ms": {"p50": 0.1, "p99": 0.3, "max": 0.4},
    "harness_lag_ms": {"p50": 5.0, "p99": 20.0, "max": 30.0},
    "upper_bounds": 0,
    "refusals": {},
    "error_frames": {},
    "connections_failed": 0,
    "clock": "kernel",
    "processes": [{"cpu": {"p50": 0.2, "p90": 0.4, "max": 0.5}, "clock_uncertainty_ms": 0.2}],
    "settings": {"shape": "constant"},
}


def judge(medians_ms=(10.0,) * 20, phase=0, **changes):
    intended_ns = np.arange(len(medians_ms)) * 1_000_000_000
    columns = {
        "phase": phase,
        "warm_up": False,
        "intended_ns": intended_ns,
        "median_ms": medians_ms,
        "last_ms": medians_ms,
    }
    return verdict.judge(Result(pd.DataFrame(), pd.DataFrame(columns), pd.DataFrame(), GOOD | changes))


def failed(judged):
    return [check["check"] for check in judged["checks"] if not check["ok"]]


def test_a_good_result_is_believed():
    judged = judge()
    assert judged["believable"]
    assert judged["warnings"] == []
    assert all(check["message"].endswith(".") for check in judged["checks"])


@pytest.mark.parametrize(
    ("check", "changes", "message"),
    [
        ("deliveries", {"missing": 3}, "3 of 2,000 deliveries never arrived"),
        ("deliveries", {"dropped": 2}, "2 of 2,000 deliveries never arrived"),
        ("schedule", {"send_late_ms": {"p99": 2.1}}, "use more workers or a lower rate"),
        ("samples", {"interval_95": {"latency_ms": {"p50": [1.0, None]}}}, "for a median send 7 or more"),
        ("harness_lag", {"harness_lag_ms": {"p99": 150.0}}, "use more workers"),
        ("harness_lag", {"upper_bounds": 100}, "100 arrivals are known as upper bounds only"),
        ("harness_lag", {"clock": "user"}, "gives arrivals no timestamp"),
        ("saturation", {"processes": [{"cpu": {"p90": 0.97}, "clock_uncertainty_ms": 0}]}, "97% of a core"),
        ("clocks", {"processes": [{"cpu": {"p90": 0.1}, "clock_uncertainty_ms": 7.0}]}, "known to 7.0 ms only"),
        ("throttling", {"refusals": {"status 429": 3}, "connections_failed": 1}, "fewer: lower --spawn-rate"),
        ("throttling", {"error_frames": {"Internal server error": 2}}, "Lambda, which runs as many invocations as"),
        ("throttling", {"error_frames": {"Too Many Requests": 2}}, "the messages a second: lower --broadcast-rate"),
        ("throttling", {"error_frames": {"Endpoint request timed out": 1}}, "waits 29 s for a function"),
    ],
)
def test_what_is_wrong_is_named_with_what_to_do(check, changes, message):
    judged = judge(**changes)
    assert failed(judged) == [check]
    assert not judged["believable"]
    assert message in judged["warnings"][0]


def test_sending_late_and_an_uncertain_clock_may_be_a_tenth_of_the_latency_or_a_little_above_none():
    assert judge(send_late_ms={"p99": 1.9})["believable"]
    slow = {"latency_ms": {"p50": 100.0, "p90": 150.0, "p99": 200.0, "max": 210.0}}
    processes = [{"cpu": {"p90": 0.1}, "clock_uncertainty_ms": 9.9}]
    assert judge(**slow, send_late_ms={"p99": 9.9}, processes=processes)["believable"]


@pytest.mark.parametrize(("first_ms", "last_ms", "says"), [(30, 10, "fell by 20.0 ms"), (10, 30, "rose by 20.0 ms")])
def test_a_latency_that_falls_or_rises_had_not_settled(first_ms, last_ms, says):
    judged = judge(medians_ms=np.linspace(first_ms, last_ms, 20))
    assert failed(judged) == ["settled"]
    assert says in judged["warnings"][0]


def test_noise_a_tiny_trend_a_ramp_and_steps_are_no_drift():
    random = np.random.default_rng(1)
    alarms = sum(failed(judge(medians_ms=10 + 3 * random.normal(size=20))) == ["settled"] for _ in range(100))
    assert alarms <= 3
    assert judge(medians_ms=np.linspace(10, 10.4, 20))["believable"]
    assert judge(medians_ms=np.linspace(10, 30, 20), settings={"shape": "ramp"})["believable"]
    assert judge(medians_ms=[10.0] * 10 + [30.0] * 10, phase=[0] * 10 + [1] * 10)["believable"]


def test_few_broadcasts_cannot_show_that_it_settled():
    assert "7 broadcasts cannot show" in judge(medians_ms=[10.0] * 7)["warnings"][0]
    assert judge(medians_ms=[10.0] * 8)["believable"]


def test_a_quantile_without_an_interval_puts_only_itself_in_doubt():
    judged = judge(interval_95={"latency_ms": {"p50": [9.0, 11.0], "p90": [14.0, None], "p99": [None, None]}})
    assert judged["believable"]
    assert judged["uncertain"] == ["p90", "p99"]
    (samples,) = (check["message"] for check in judged["checks"] if check["check"] == "samples")
    assert samples == "There are enough broadcasts for a median; for p90 send 37 and for p99 send 369 or more."


def test_nothing_is_not_believed():
    judged = judge(latency_ms={"p50": None})
    assert (judged["believable"], judged["warnings"]) == (False, ["There is no delivery to judge."])


def test_handshakes_that_were_refused_and_made_again_are_named_and_do_no_harm():
    judged = judge(refusals={"status 500": 34})
    assert judged["believable"] and not judged["warnings"]
    message = next(check["message"] for check in judged["checks"] if check["check"] == "throttling")
    assert message.startswith("34 handshakes were refused because of too much load (34 x status 500). At API Gateway")
