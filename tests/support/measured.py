"""Results of load tests that nobody ran: the latencies are given, and all else follows from them as ever."""

import numpy as np

from loadtest import plots, records, results, ripple, verdict
from loadtest.records import KERNEL, BroadcastRecord, ConnectionRecord

MS = 1_000_000
NOW = 1_800_000_000_000 * MS


def result_of(latency_ms, warm_up=1, speaker=None, **settings):
    """A result from latencies, shape (broadcasts, connections); a NaN never arrived. The first ones are the warm-up.

    `speaker` is the number of the connection that sends each broadcast; without it, number 0 does.
    """
    latency_ms = np.asarray(latency_ms, dtype=float)
    log = records.DeliveryLog()
    due = [NOW + number * 500 * MS for number in range(len(latency_ms))]
    for (number, connection), latency in np.ndenumerate(latency_ms):
        if not np.isnan(latency):
            arrived_ns = due[number] + round(latency * MS)
            log.append(connection, number, arrived_ns, arrived_ns + MS // 10, KERNEL)
    speaker = speaker or [0] * len(due)
    sent = [
        BroadcastRecord(number, 0, number < warm_up, speaker[number], time, time) for number, time in enumerate(due)
    ]
    connections = [ConnectionRecord(number, NOW - 2, 1, NOW - 1) for number in range(latency_ms.shape[1])]
    result = results.assemble(
        log.take(),
        records.table("broadcasts", sent),
        records.table("connections", connections),
        requested=max(0, len(latency_ms) - warm_up),
        users=latency_ms.shape[1],
        drain_s=10,
        metadata={
            "settings": {"payload_bytes": 200, "broadcast_rate": 2.0, "speakers": 1, "churn": 0.0} | settings,
            "processes": [{"cpu": {"p50": 0.2, "p90": 0.4, "max": 0.5}, "clock_uncertainty_ms": 0.0}],
        },
    )
    result.summary["verdict"] = verdict.judge(result)
    return result


def run_with_pictures(folder):
    """Leave in a folder what a run leaves there, of two small load tests; the run's summary."""
    random = np.random.default_rng(1)
    slow, fast = (
        result_of(20 + ms * np.arange(40) + random.gamma(2, 2, (21, 1)) + random.gamma(1, 1, (21, 40)))
        for ms in (8.0, 2.0)
    )
    results.write(folder / "load_test", fast.tables(), fast.summary)
    (folder / "plots").mkdir()
    for number, plot in enumerate((plots.latency_distribution, plots.completeness), start=1):
        plot(fast).savefig(folder / "plots" / f"6-{number} {plot.__name__.replace('_', ' ')}.png", dpi=60)
    ripple.ripple({"one after another": slow, "this chat's broadcast": fast}).save(folder / "plots" / "6-0 ripple")
    figure, _ = plots.new_figure("A forecast", "Connections", "Time (s)")
    figure.kind = "computed"
    figure.savefig(folder / "plots" / "7-1 how far it goes.png", dpi=60)
    return {
        "target": "local",
        "notebooks": [
            {"name": "00_start", "seconds": 1.2, "ok": True},
            {"name": "06_load_test", "seconds": 3.4, "ok": False},
        ],
        "fanout": fast.summary,
        "leftovers": 0,
        "failures": [],
    }  # fmt: skip
