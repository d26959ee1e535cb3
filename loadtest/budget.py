"""How long each part of a test may take. Every wait has an end, and all of the ends are here, in seconds."""

from loadtest.arguments import Settings

CONNECT_GRACE_S = 10.0
"""How much longer the connections of a phase may take than their rate, the time-out and the retries need."""
SYNCHRONISE_S = 10.0
"""For the first comparisons of a worker's clock with the master's."""
LEAD_S = 0.3
"""From sending the plan to its first broadcast."""
SETTLE_S = 0.5
"""After the last expected delivery of all: time for a second copy to arrive."""
HALT_S = 2.0
"""For deliveries under way when somebody stops the test."""
COLLECT_S = 20.0
"""For the last records of all generators to arrive."""
LEAVE_GRACE_S = 10.0
"""How much longer the connections may take to leave than their rate needs."""
WRITE_S = 7.5
"""For writing the results of the largest test: a million deliveries took 1.3 s (`arguments.MAX_DELIVERIES`)."""

STOP_S = HALT_S + SETTLE_S + COLLECT_S + WRITE_S
"""From Ctrl-C, SIGTERM or Locust's stop button to the end of the process, with the results written. Whoever stops a
load test waits so long before killing it."""


def connecting_s(settings: Settings, connections: int, rate: float) -> float:
    """The longest time that so many connections may take to open, at `rate` a second."""
    return connections / rate + settings.connect_timeout + settings.retry_time + CONNECT_GRACE_S


def leaving_s(connections: int, rate: float) -> float:
    """The longest time that so many connections may take to leave, at `rate` a second."""
    return connections / rate + LEAVE_GRACE_S


def test_s(settings: Settings, rate: float) -> float:
    """The longest time that a whole test may take with `rate` new connections a second, from its start to its results.

    Most tests take far less: a phase ends as soon as all are connected and everything has arrived.
    """
    phases = sum(
        connecting_s(settings, connections, rate)
        + SYNCHRONISE_S
        + LEAD_S
        + float(settings.with_warm_up(phase)[-1])
        + settings.drain_time
        for phase, connections in enumerate(settings.phases)
    )
    return phases + SETTLE_S + COLLECT_S + leaving_s(settings.phases[-1], rate) + WRITE_S
