"""Open connections whose messages nobody looks at."""

import asyncio
import contextlib
from collections.abc import Iterator
from multiprocessing.connection import Connection

import uvloop
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from benchmarks.children import child
from chatlab import LabError


@contextlib.contextmanager
def open_connections(url: str, number: int) -> Iterator[None]:
    """So many connections, whose messages a process of its own reads and drops.

    Raises:
        LabError: in one sentence, if not all of them can be opened, or if one closes before the end.
    """

    def check(timeout_s: float) -> None:
        if problem := pipe.recv() if pipe.poll(timeout_s) else "there is no answer":
            raise LabError(f"{number} connections can't be held open: {problem}.")

    with child(_hold_open, url, number) as pipe:
        check(30 + number / 20)
        yield
        pipe.send("close")
        check(5)


def _hold_open(pipe: "Connection[str | None, str]", url: str, number: int) -> None:
    """Sends None when all are open, and again when they were until the other end sent something; or what is wrong."""
    with contextlib.suppress(BrokenPipeError):  # that process has ended
        try:
            uvloop.run(_receive(url, number, pipe))
        except (OSError, WebSocketException) as error:
            pipe.send(f"{error}".rstrip("."))


async def _receive(url: str, number: int, pipe: "Connection[str | None, str]") -> None:
    close = asyncio.Event()
    asyncio.get_running_loop().add_reader(pipe.fileno(), close.set)  # also if the process at the other end has ended
    tasks: list[asyncio.Task[object]] = [asyncio.create_task(close.wait())]
    for _ in range(number):
        tasks.append(asyncio.create_task(_drop_messages(await connect(url, compression=None, ping_interval=None))))
    pipe.send(None)
    for task in (await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED))[0]:
        await task
    pipe.send(None)


async def _drop_messages(websocket: ClientConnection) -> None:
    while True:  # until it is closed, which is raised
        await websocket.recv()
