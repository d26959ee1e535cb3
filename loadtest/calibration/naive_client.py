"""The client that one writes first, for comparison: wait in recv(), then read the clock.

A greenlet for each connection, websocket-client in it, `time.time_ns()` after each message: what a user of Locust gets
from any blocking client. It measures when the greenlet's turn came, and with many connections that is late.
"""

# ruff: noqa: E402
from gevent import monkey

monkey.patch_all()  # before anything else is imported, as Locust does

import argparse
import json
import time

import gevent
import pandas as pd
import websocket

from loadtest import messages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("url")
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--broadcasts", type=int, required=True)
    parser.add_argument("--broadcast-rate", type=float, required=True)
    parser.add_argument(
        "--output", required=True, help="Parquet file: broadcast, port, sent_ns and read_ns of each delivery"
    )
    options = parser.parse_args()

    connections = [websocket.create_connection(options.url) for _ in range(options.connections)]
    rows: list[tuple[int, int, int, int]] = []

    def listen(connection: websocket.WebSocket) -> None:
        assert connection.sock, "It is connected."
        port = connection.sock.getsockname()[1]
        while True:
            message = json.loads(connection.recv())
            rows.append((message["id"], port, message["sent_ns"], time.time_ns()))

    listeners = [gevent.spawn(listen, connection) for connection in connections]
    gevent.sleep(0.5)
    for broadcast in range(options.broadcasts):
        connections[0].send(messages.encode("naive", broadcast, 0, time.time_ns(), 200))
        gevent.sleep(1 / options.broadcast_rate)
    deadline = time.monotonic() + 5
    while len(rows) < options.broadcasts * options.connections and time.monotonic() < deadline:
        gevent.sleep(0.1)
    gevent.killall(listeners)
    pd.DataFrame(rows, columns=["broadcast", "port", "sent_ns", "read_ns"]).to_parquet(options.output)


if __name__ == "__main__":
    main()
