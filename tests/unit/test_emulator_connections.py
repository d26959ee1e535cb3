"""What the emulator's records of connections do beside what MiniStack's do."""

import asyncio

from ministack.services import apigateway

from chatlab.emulator.closed_connections import notice_closed_connections_at_once


def test_who_waits_for_a_closed_connections_messages_is_told_that_there_are_no_more(monkeypatch):
    monkeypatch.setattr(apigateway, "_ws_connections", {})
    notice_closed_connections_at_once()
    connection = {"close_event": asyncio.Event(), "outbox": asyncio.Queue()}
    apigateway._ws_connections["id"] = connection
    assert connection["outbox"].empty()
    connection["close_event"].set()
    assert connection["close_event"].is_set() and connection["outbox"].get_nowait() is None
