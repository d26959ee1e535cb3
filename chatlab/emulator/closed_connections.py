"""The end of a WebSocket: the emulator looks for it each half second only, and runs `$disconnect` so much too late."""

from typing import Any

from ministack.services import apigateway


class _Connections(dict[str, dict[str, Any]]):
    """The emulator's records of open connections, by their ids."""

    def __setitem__(self, connection_id: str, connection: dict[str, Any]) -> None:
        super().__setitem__(connection_id, connection)
        closed, outbox = connection["close_event"], connection["outbox"]
        set_closed = closed.set

        def set_and_wake() -> None:
            set_closed()
            outbox.put_nowait(None)  # which ends the task that waits for messages to send

        closed.set = set_and_wake


def notice_closed_connections_at_once() -> None:
    """From now on, in this process."""
    apigateway._ws_connections = _Connections()
