"""Post messages to the one connection that is open: `python -m tests.browser.flood COUNT RATE`.

At a steady rate per second, or as fast as a machine can that is busy with other tests.
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from chatlab import Lab, poll


def main(count, rate):
    lab = Lab.load()

    def only_connection():
        items = lab.client("dynamodb").scan(TableName=lab.table, ConsistentRead=True)["Items"]
        return items[0]["connection_id"]["S"] if len(items) == 1 else None

    connection_id = poll(only_connection, "those who have left to be forgotten", timeout_s=10, every_s=0.2)
    api = lab.client("apigatewaymanagementapi", endpoint_url=lab.connections_url(lab.require_api()))

    def post(number):
        message = {"type": "chat", "id": f"f{number}", "client": "flood", "name": "Flood", "text": f"flood {number}"}
        api.post_to_connection(
            ConnectionId=connection_id, Data=json.dumps(message | {"sent_at": int(time.time() * 1000)})
        )

    started, sent = time.monotonic(), 0
    with ThreadPoolExecutor(4) as pool:
        while sent < count:
            due = min(count, int((time.monotonic() - started) * rate))
            list(pool.map(post, range(sent, due)))
            sent = due
            time.sleep(0.005)


main(*map(int, sys.argv[1:]))
