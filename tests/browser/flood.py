"""Post messages to a connection: `python -m tests.browser.flood COUNT RATE ID`.

At a steady rate per second, or as fast as a machine can that is busy with other tests.
"""

import http.client
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, urlsplit

from chatlab import Lab, local_cloud
from tests.support.requests import signed


def main(count, rate, connection_id):
    lab = Lab.load()
    url = urlsplit(lab.connections_url(lab.require_api()))
    path = f"{url.path}/%40connections/{quote(connection_id, safe='')}"
    own, credentials = threading.local(), local_cloud.credentials()

    def post(number):
        message = {"type": "chat", "id": f"f{number}", "client": "flood", "name": "Flood", "text": f"flood {number}"}
        body = json.dumps(message | {"sent_at": int(time.time() * 1000)})
        if not hasattr(own, "connection"):
            own.connection = http.client.HTTPConnection(url.netloc)
        headers = signed((url.hostname, url.port), "execute-api", "POST", path, {}, body, credentials)
        own.connection.request("POST", path, body, headers)
        with own.connection.getresponse() as answer:
            assert answer.status == 200, answer.read()
            answer.read()

    started, sent = time.monotonic(), 0
    with ThreadPoolExecutor(4) as pool:
        while sent < count:
            due = min(count, int((time.monotonic() - started) * rate))
            list(pool.map(post, range(sent, due)))
            sent = due
            time.sleep(0.005)


main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
