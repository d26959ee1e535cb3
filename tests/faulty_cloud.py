"""The local cloud with faults at its front door: `python tests/faulty_cloud.py <descriptor> <file for the key>`.

Only what functions ask for fails. What does, and how, is in the file `faults.json` beside the key, which may change at
any time: a list of `Fault`, of which the first that fits counts. `faulted(folder)` tells what was done so far.
"""

import asyncio
import json
import random
import runpy
import socket
import struct
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import unquote

EMULATOR = Path(__file__).parent.parent / "chatlab" / "emulator"
SLOW_S = 1.5


@dataclass
class Fault:
    """What becomes of a call of the functions'."""

    on: str
    """The operation: PostToConnection, Scan, PutItem, DeleteItem, Invoke."""
    kind: str
    """410, 429, 500, throttled: that is the answer. slow: it takes `SLOW_S` longer. reset: the connection breaks before
    anything is done. lost: it is done, and then the connection breaks."""
    ids: list[str] | None = None
    """Of posts: only to these connections."""
    share: float = 1.0
    times: int | None = None
    """Only the first calls, of each connection's posts, or of all other operations of that name."""


def set_faults(folder, *faults):
    """From now on these, in the local cloud at home in `folder`; None: all is well."""
    draft = folder / "faults.draft"
    draft.write_text(json.dumps([asdict(fault) for fault in faults]))
    draft.replace(folder / "faults.json")


def faulted(folder):
    """How many calls were made to fail since the local cloud began: a Counter by (operation, kind)."""
    lines = (folder / "faults.log").read_text().splitlines() if (folder / "faults.log").exists() else []
    return Counter(tuple(line.split()) for line in lines)


class Faulty:
    """The ASGI application `app`, of which calls fail as the file in `folder` says."""

    def __init__(self, app, folder):
        self._app, self._file = app, folder / "faults.json"
        self._log = open(folder / "faults.log", "a", buffering=1)  # noqa: SIM115, open as long as this runs
        self._read_at, self._faults, self._done = None, [], Counter()

    async def __call__(self, scope, receive, send):
        call = temper.describe(scope, b"") if scope["type"] == "http" else None
        fault = call and call.key.startswith("ASIA") and self._fault(call)
        if not fault:
            await self._app(scope, receive, send)
            return
        self._log.write(f"{fault.on} {fault.kind}\n")
        if fault.kind == "slow":
            await asyncio.sleep(SLOW_S)
            await self._app(scope, receive, send)
        elif fault.kind == "reset":
            await _break(receive)
        elif fault.kind == "lost":
            await self._app(scope, receive, _unsaid)
            await _break(receive)
        else:
            answer = ANSWERS[fault.kind](call.service)
            await temper.whole_body(receive)
            length = (b"content-length", str(len(answer.body)).encode())
            await send({"type": "http.response.start", "status": answer.status, "headers": [*answer.headers, length]})
            await send({"type": "http.response.body", "body": answer.body})

    def _fault(self, call):
        name, connection_id = call.operation, ""
        if call.is_post_to_connection:
            name, connection_id = "PostToConnection", unquote(call.operation.rpartition("/")[2])
        elif call.operation.endswith("/invocations"):
            name = "Invoke"
        for number, fault in enumerate(self._current()):
            if fault.on != name or (fault.ids is not None and connection_id not in fault.ids):
                continue
            if random.random() >= fault.share or self._done[number, connection_id] == fault.times:
                continue
            self._done[number, connection_id] += 1
            return fault
        return None

    def _current(self):
        try:
            changed_at = self._file.stat().st_mtime_ns
        except FileNotFoundError:
            return []
        if changed_at != self._read_at:
            self._read_at, self._done = changed_at, Counter()
            self._faults = [Fault(**fault) for fault in json.loads(self._file.read_text())]
        return self._faults


async def _unsaid(_):
    pass


async def _break(receive):
    """End the connection with a reset. ASGI has no word for it; but `receive` is uvicorn's, and has it."""
    transport = receive.__self__.transport
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    while (await receive())["type"] != "http.disconnect":
        pass


if __name__ == "__main__":
    sys.path.insert(0, str(EMULATOR))
    import cloud as module
    import temper

    ANSWERS = {
        "410": lambda _: temper.refusal(410, "GoneException", "Gone"),
        "429": lambda _: temper.refusal(429, "LimitExceededException", "Rate exceeded"),
        "500": temper.failure,
        "throttled": lambda _: temper.refusal(400, "ProvisionedThroughputExceededException", "Too much is asked for."),
    }
    make, home = module.cloud, Path(sys.argv[2]).parent
    module.cloud = lambda *given: Faulty(make(*given), home)
    runpy.run_path(str(EMULATOR), run_name="__main__")
