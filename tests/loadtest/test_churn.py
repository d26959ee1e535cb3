"""The real broadcast, to people who come and leave all the time."""

import pytest

from tests.support.labs import sharding


@pytest.mark.slow
def test_everybody_who_is_there_throughout_hears_each_of_200_broadcasts_once(chat, run):
    """20 people, of whom 10 % are replaced each second; the eight who speak stay."""
    with sharding(chat, shards=2, above=5):
        test = run(
            *["--host", chat.websocket_url(chat.require_api()), "--users", 20, "--speakers", 8, "--churn", 0.1],
            # Few enough for a busy machine: where broadcasts wait for each other, what is very late counts as missing.
            *["--broadcasts", 200, "--broadcast-rate", 20, "--drain-time", 35],
        )
    summary, broadcasts, connections = test.summary, test.result.broadcasts, test.result.connections
    assert test.status == 0, test.output
    assert (summary["broadcasts"], summary["missing"], summary["duplicate"]) == (200, 0, 0)
    assert summary["expected"] == summary["delivered"] + summary["departed"]
    assert summary["connections_left"] >= 6  # 20 are likely
    there = connections[(connections["opened_ns"] < broadcasts["sent_ns"].min()) & connections["closed_ns"].isna()]
    assert len(there) >= 8
    assert (there["delivered"] == len(broadcasts)).all()
    assert (there["duplicate"] == 0).all()
