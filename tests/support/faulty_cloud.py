"""The local cloud with injected faults: what `local_cloud.SERVER` names in a test instead of the real one.

Only calls of functions fail. Which ones, and how, is in the file `faults.json` beside the key, which may change at any
time: a list of `Fault`. The first that fits a call counts.
"""

import asyncio
import json
import random
import socket
import struct
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from urllib.parse import unquote

from chatlab.emulator.calls import error_response, parse_call, read_body
from chatlab.emulator.traits import internal_error
from chatlab.paths import state_dir

SLOW_S = 1.5


@dataclass
class Fault:
    """What happens to a call that a function makes."""

    on: str
    """The operation: PostToConnection, Scan, PutItem, DeleteItem, Invoke."""
    kind: str
    """410, 429, 500, throttled: that is the response. slow: it takes `SLOW_S` longer. reset: the connection is reset
    before anything is done. lost: it is done, and then the connection is reset."""
    ids: list[str] | None = None
    """Of posts: only to these connections."""
    share: float = 1.0
    times: int | None = None
    """How many calls: of each connection's posts, or of another operation. None: all."""


def set_faults(*faults):
    """Inject these from now on, and no others."""
    draft = state_dir() / "faults.draft"
    draft.write_text(json.dumps([asdict(fault) for fault in faults]))
    draft.replace(state_dir() / "faults.json")


def count_faults():
    """How many calls failed for a fault since the local cloud started: a Counter by (operation, kind)."""
    return Counter(tuple(line.split()) for line in (state_dir() / "faults.log").read_text().splitlines())


class FaultyCloud:
    """The ASGI application `app`, whose calls fail as the file in `folder` says."""

    def __init__(self, app, folder):
        self._app, self._file = app, folder / "faults.json"
        self._log = open(folder / "faults.log", "a", buffering=1)  # noqa: SIM115, open as long as this runs
        self._modified_at_ns = None
        self._faults = []
        self._done = Counter()  # by the fault's number, and the connection of a post

    async def __call__(self, scope, receive, send):
        """Inject the fault that fits the call, if there is one."""
        call = parse_call(scope, b"") if scope["type"] == "http" else None
        fault = self._fault(call) if call and call.access_key_id.startswith("ASIA") else None
        if not call or not fault:
            await self._app(scope, receive, send)
            return
        self._log.write(f"{fault.on} {fault.kind}\n")
        if fault.kind == "slow":
            await asyncio.sleep(SLOW_S)
            await self._app(scope, receive, send)
        elif fault.kind == "reset":
            await _reset_connection(receive)
        elif fault.kind == "lost":
            await self._app(scope, receive, _discard)
            await _reset_connection(receive)
        else:
            error = ERRORS[fault.kind](call.service)
            await read_body(receive)
            error.headers.append((b"content-length", str(len(error.body)).encode()))
            await error.send(send)

    def _fault(self, call):
        """The first that fits."""
        operation, connection_id = call.operation, ""
        if call.is_post_to_connection:
            operation, connection_id = "PostToConnection", unquote(call.operation.rpartition("/")[2])
        elif call.operation.endswith("/invocations"):
            operation = "Invoke"
        for number, fault in enumerate(self._current()):
            if fault.on != operation or (fault.ids is not None and connection_id not in fault.ids):
                continue
            if random.random() >= fault.share or self._done[number, connection_id] == fault.times:
                continue
            self._done[number, connection_id] += 1
            return fault
        return None

    def _current(self):
        """Those in the file."""
        try:
            modified_at_ns = self._file.stat().st_mtime_ns
        except FileNotFoundError:
            return []
        if modified_at_ns != self._modified_at_ns:
            self._modified_at_ns, self._done = modified_at_ns, Counter()
            self._faults = [Fault(**fault) for fault in json.loads(self._file.read_text())]
        return self._faults


async def _discard(message):
    pass


async def _reset_connection(receive):
    """ASGI has no word for it; but `receive` is a method of uvicorn's object for the request, which has a transport."""
    transport = receive.__self__.transport
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    while (await receive())["type"] != "http.disconnect":
        pass


ERRORS = {
    "410": lambda service: error_response(service, 410, "GoneException", "Gone"),
    "429": lambda service: error_response(service, 429, "LimitExceededException", "Rate exceeded"),
    "500": internal_error,
    "throttled": lambda service: error_response(
        service, 400, "ProvisionedThroughputExceededException", "Too much is asked for."
    ),
}


def main(target, descriptor, key_file):
    """Serve until SIGTERM."""
    # Here, since a test that only sets faults needs no emulator.
    from chatlab.emulator.server import cloud, serve_local

    serve_local(descriptor, key_file, lambda path, traits: FaultyCloud(cloud(path, traits), path.parent))


if __name__ == "__main__":
    main(*sys.argv[1:])
