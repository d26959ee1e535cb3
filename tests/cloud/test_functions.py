"""The functions' own logic: `$connect` and `$disconnect`, and what all three say in their log. The table is the local
cloud's."""

import time

import pytest

from tests.support.functions import Context, event, log_line


def test_connect_puts_and_disconnect_deletes(function, table, capsys):
    assert function("connect").handler(event(connection_id="one"), None) == {"statusCode": 200}
    assert table.ids() == {"one"}
    assert log_line(capsys).keys() == {"event", "connection_id", "put_ms"}
    assert function("disconnect").handler(event(connection_id="one"), None) == {"statusCode": 200}
    assert table.ids() == set()
    assert log_line(capsys).keys() == {"event", "connection_id", "delete_ms"}


@pytest.mark.parametrize("part", ["connect", "default", "broadcast", "disconnect"])
def test_a_table_that_is_missing_is_logged_and_answered_with_500(function, monkeypatch, capsys, part):
    monkeypatch.setenv("TABLE", "no-such-table")
    assert function(part).handler(event("hello"), Context()) == {"statusCode": 500}
    assert "ResourceNotFoundException" in log_line(capsys)["error"]


def test_a_broadcast_is_told_in_cloudwatchs_embedded_metric_format(function, connections, table, capsys):
    table.put("a", "b")
    connections.statuses["a"] = [429]
    function("broadcast").handler(event("hello"), Context())
    log = log_line(capsys)
    assert (log["throttled"], log["retried"], log["shards"]) == (1, 1, 1)
    (described,) = log["_aws"]["CloudWatchMetrics"]
    assert abs(log["_aws"]["Timestamp"] / 1000 - time.time()) < 60
    assert described["Dimensions"] == [["function"]] and "function" in log
    named = {metric["Name"] for metric in described["Metrics"]}
    assert {"connections", "delivered", "gone", "throttled", "retried", "scan_ms", "post_ms", "shards"} <= named
    assert all(isinstance(log[name], (int, float)) for name in named)
