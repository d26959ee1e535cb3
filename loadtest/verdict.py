"""Whether you can trust a result, and if not, why and what to do about it.

The idea is Lancet's (Kogias, Mallon, Bugnion, USENIX ATC 2019): a tool that measures latency also checks its own
measurement. Every limit is a constant here, and docs/loadtest.md explains them.
"""

import numpy as np

from loadtest.intervals import sufficient_groups, trend
from loadtest.results import Json, Result, explain_refusals

SEND_LATE_MS, SEND_LATE_SHARE = 2.0, 0.1
"""p99 of the delay with which broadcasts are sent: at most this, or this share of the median latency."""
DRIFT_MS, DRIFT_SHARE, DRIFT_P = 0.5, 0.2, 0.01
"""A drift is a change of the median latency from the first to the last broadcast by more than both this and this share
of the median, and significant at this p."""
MIN_BROADCASTS = 8
"""Fewer cannot show a drift."""
MAX_LAG_MS = 100.0
"""p99 of the time from arrival to handling. It is not in the latency, but then the process can hardly keep up."""
MAX_BOUND_SHARE = 0.01
"""Share of deliveries whose arrival is known as an upper bound only."""
MAX_CPU_SHARE = 0.9
"""Share of one core that a process may use, as the 90th percentile over the seconds with broadcasts."""
CLOCK_MS, CLOCK_SHARE = 1.0, 0.1
"""Uncertainty of the clocks' offsets: at most this, or this share of the median latency."""


Finding = tuple[bool, str]
"""Whether a check holds, and what it found, in a sentence."""


def judge(result: Result) -> Json:
    """Judge a result.

    Returns:
        `believable`: whether you can trust the result, but not the quantiles in `uncertain`, for which there are too
        few broadcasts; `warnings`: a sentence for each check that failed; `checks`: each with its name, `ok` and
        `message`; `protocol`: what the connections spoke.
    """
    summary = result.summary
    if summary["latency_ms"]["p50"] is None:
        uncertain, found = list(summary["latency_ms"]), {"samples": (False, "There is no delivery to judge.")}
    else:
        uncertain = [name for name, ends in summary["interval_95"]["latency_ms"].items() if None in ends]
        found = {
            "deliveries": _deliveries(summary),
            "schedule": _schedule(summary),
            "settled": _settled(result),
            "samples": _samples(uncertain),
            "harness_lag": _harness_lag(summary),
            "saturation": _saturation(summary),
            "clocks": _clocks(summary),
            "throttling": _throttling(summary),
        }
    checks = [{"check": name, "ok": bool(ok), "message": message} for name, (ok, message) in found.items()]
    warnings = [check["message"] for check in checks if not check["ok"]]
    trust = {"believable": not warnings, "uncertain": uncertain, "warnings": warnings, "checks": checks}
    return trust | {"protocol": summary["settings"].get("protocol", "plain")}


def _deliveries(summary: Json) -> Finding:
    lost = summary["missing"] + summary["dropped"]
    if not lost:
        return True, "Every expected delivery arrived."
    expected = f"{summary['expected']:,}"
    return False, f"{lost:,} of {expected} deliveries never arrived; the latencies are those of the others."


def _schedule(summary: Json) -> Finding:
    late_ms = summary["send_late_ms"]["p99"]
    limit_ms = max(SEND_LATE_MS, SEND_LATE_SHARE * summary["latency_ms"]["p50"])
    if late_ms <= limit_ms:
        return True, f"Broadcasts were sent on schedule (p99 {late_ms:.2f} ms late)."
    return False, (
        f"Broadcasts were sent late (p99 {late_ms:.1f} ms, over {limit_ms:.1f} ms), and the latency includes that; use "
        "more workers or a lower rate."
    )


def _settled(result: Result) -> Finding:
    broadcasts = result.heard_broadcasts()
    if result.summary["settings"].get("shape") == "ramp" or result.summary.get("storm"):
        return True, "The number of connections changed on purpose, so the latency does not have to settle."
    smallest = broadcasts.groupby("phase").size().min()
    if smallest < MIN_BROADCASTS:
        few = f"{smallest} broadcasts cannot show whether the latency had settled; send {MIN_BROADCASTS} or more."
        return False, few
    for _, phase in broadcasts.groupby("phase"):
        seconds, median_ms = phase["intended_ns"].to_numpy() / 1e9, phase["median_ms"].to_numpy()
        slope, _, p = trend(seconds, median_ms)
        change_ms = slope * (seconds[-1] - seconds[0])
        limit_ms = max(DRIFT_MS, DRIFT_SHARE * np.median(median_ms))
        if p < DRIFT_P and abs(change_ms) > limit_ms:
            direction = "rose" if change_ms > 0 else "fell"
            return False, (
                f"The latency had not settled: its median {direction} by {abs(change_ms):.1f} ms from the first "
                "broadcast to the last; use a longer --warm-up, or a lower rate if it keeps rising."
            )
    return True, "The latency had settled: its median shows no trend."


def _samples(uncertain: list[str]) -> Finding:
    """The median has to have an interval. A higher quantile without one is no claim of the result's."""
    if not uncertain:
        return True, "There are enough broadcasts for every quantile of the latency."
    if "p50" in uncertain:
        return False, f"There are too few broadcasts: for a median send {sufficient_groups(0.5)} or more."
    needed = " and ".join(f"for {name} send {sufficient_groups(float(name[1:]) / 100)}" for name in uncertain)
    return True, f"There are enough broadcasts for a median; {needed} or more."


def _harness_lag(summary: Json) -> Finding:
    lag_ms, bounds = summary["harness_lag_ms"]["p99"], summary["upper_bounds"]
    if summary["clock"] != "kernel":
        return False, (
            "This platform gives arrivals no timestamp, so the latency includes the load test's own lateness."
        )
    if bounds > MAX_BOUND_SHARE * summary["delivered"]:
        return False, (
            f"{bounds:,} arrivals are known as upper bounds only, since more arrived behind them; use more workers."
        )
    if lag_ms > MAX_LAG_MS:
        return False, (
            f"The load test handled arrivals late (p99 {lag_ms:.0f} ms, over {MAX_LAG_MS:.0f} ms). That is not in the "
            "latency, but the process can hardly keep up; use more workers."
        )
    return True, f"The load test kept up (p99 of its lag {lag_ms:.1f} ms, not in the latency)."


def _saturation(summary: Json) -> Finding:
    used = max((process["cpu"]["p90"] or 0.0 for process in summary["processes"]), default=0.0)
    if used <= MAX_CPU_SHARE:
        return True, f"The busiest process used {used:.0%} of a core."
    return False, f"A process of the load test used {used:.0%} of a core; use more workers."


def _throttling(summary: Json) -> Finding:
    """Refused handshakes cost only time if all connections were made in the end; a refused message is lost."""
    refusals, error_frames = summary["refusals"], summary["error_frames"]
    message = explain_refusals(refusals, error_frames) or "The server refused nothing because of too much load."
    return not error_frames and not (refusals and summary["connections_failed"]), message


def _clocks(summary: Json) -> Finding:
    uncertainty_ms = max((process["clock_uncertainty_ms"] for process in summary["processes"]), default=0.0)
    limit_ms = max(CLOCK_MS, CLOCK_SHARE * summary["latency_ms"]["p50"])
    if uncertainty_ms <= limit_ms:
        return True, f"The processes' clocks agree to {uncertainty_ms:.2f} ms."
    return False, (
        f"The workers' clocks are known to {uncertainty_ms:.1f} ms only, and so is the latency between them; bring the "
        "workers closer to the master."
    )
