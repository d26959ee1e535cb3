"""Open connections whose messages nobody looks at."""

import asyncio
import contextlib
import multiprocessing
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection

import uvloop
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from chatlab import LabError


@contextlib.contextmanager
def open_connections(url: str, number: int) -> Iterator[None]:
    """So many connections, whose messages a process of its own reads and drops.

    Raises:
        LabError: in one sentence, if not all of them can be opened, or if one closes before the end.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_hold_open, args=(url, number, theirs), daemon=True)
    process.start()
    theirs.close()

    def check(timeout_s: float) -> None:
        if problem := ours.recv() if ours.poll(timeout_s) else "there is no answer":
            raise LabError(f"{number} connections can't be held open: {problem}.")

    try:
        check(30 + number / 20)
        yield
        ours.send("close")
        check(5)
    finally:
        ours.close()
        process.join(5)
        process.kill()


def _hold_open(url: str, number: int, pipe: "Connection[str | None, str]") -> None:
    """Sends None when all are open, and again when they were until the other end sent something; or what is wrong."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process at the other end of the pipe
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
