"""What a function meets where it runs."""

import json
import socket
import time
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

NAMES = {410: "GoneException", 413: "PayloadTooLargeException", 429: "LimitExceededException", 403: "Forbidden"}


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        connection_id = unquote(self.path).rpartition("/@connections/")[2]
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts[connection_id] += 1
        statuses = self.server.statuses.get(connection_id, [])
        status = statuses.pop(0) if statuses else 200
        self.server.tokens.add(self.headers["x-amz-security-token"])
        if status is None:  # the connection breaks
            self.close_connection = True
            return
        if status == "slow":
            time.sleep(1.5)
            status = 200
        kind = NAMES.get(status, "InternalServerError")
        if status == "ExpiredTokenException":
            status, kind = 403, status
        if status == 200:
            self.server.heard[connection_id] = body
        answer = b"{}" if status < 300 else json.dumps({"message": str(status)}).encode()
        self.send_response(status)
        self.send_header("x-amzn-ErrorType", kind)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_DELETE(self):
        self.server.closed.append(unquote(self.path).rpartition("/@connections/")[2])
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


class Connections(ThreadingHTTPServer):
    """`@connections`: answers each connection id with the statuses that it was told, then 200."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.opened, self._sockets, self.closed = 0, [], []
        self.statuses, self.posts, self.heard, self.tokens = {}, Counter(), {}, set()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/production"

    def process_request(self, request, client_address):
        self.opened += 1
        self._sockets.append(request)
        super().process_request(request, client_address)

    def handle_error(self, *_):
        """Say nothing of a client that does not trust us."""

    def hang_up(self):
        """Close all connections, as a server does with idle ones."""
        for opened in self._sockets:
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)


class Context:
    """Lambda's context object, as far as a function reads it."""

    def __init__(self, remaining_s=60):
        self._end = time.monotonic() + remaining_s

    def get_remaining_time_in_millis(self):
        return max(0, round((self._end - time.monotonic()) * 1000))
