"""The traits, wrapped around the emulator: an ASGI middleware."""

import asyncio
from pathlib import Path

from chatlab.emulator.api_call import parse_call
from chatlab.emulator.asgi import App, Message, Receive, Scope, Send, read_body, replay
from chatlab.emulator.responses import Response
from chatlab.emulator.traits.catalog import make_traits, traits_file
from chatlab.emulator.traits.trait import Trait


def with_traits(app: App, text: str) -> App:
    """The application with the traits that `text` names, as `parse_traits` reads it. Raises what that does.

    Those of a file change when the file does, except those that are played within the emulator.
    """
    if file := traits_file(text):
        return _TraitsOfFile(app, file)
    traits = make_traits(text)
    return _Traits(app, traits) if traits else app


class _TraitsOfFile:
    def __init__(self, app: App, file: Path) -> None:
        self._app, self._file = app, file
        self._version = self._read_version()
        self._with_traits = with_traits(app, file.read_text().strip())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (version := self._read_version()) != self._version:
            self._with_traits = with_traits(self._app, self._file.read_text().strip())
            self._version = version
        await self._with_traits(scope, receive, send)

    def _read_version(self) -> tuple[int, int]:
        """Another one where the file was replaced, even within the same tick of the file system's clock."""
        status = self._file.stat()
        return status.st_ino, status.st_mtime_ns


class _Traits:
    def __init__(self, app: App, traits: list[Trait]) -> None:
        self._app, self._traits = app, traits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(receive)
        call = parse_call(scope, body)
        if delay_s := sum(trait.delay_s(call) for trait in self._traits):
            await asyncio.sleep(delay_s)
        response = next((response for trait in self._traits if (response := trait.before(call))), None)
        if response is None:
            response = await self._emulate(scope, body, receive)
            for trait in self._traits:
                response = trait.after(call, response)
        headers = response.headers
        if scope["method"] != "HEAD":  # whose length is that of a body which it does not have
            headers = [(name, value) for name, value in headers if name.lower() != b"content-length"]
            headers.append((b"content-length", str(len(response.body)).encode()))
        await Response(response.status, headers, response.body).send(send)

    async def _emulate(self, scope: Scope, body: bytes, receive: Receive) -> Response:
        """The emulator's response, as a whole."""
        response = Response(500, [], b"")

        async def take(message: Message) -> None:
            if message["type"] == "http.response.start":
                response.status, response.headers = message["status"], list(message.get("headers", []))
            elif message["type"] == "http.response.body":
                response.body += message.get("body", b"")

        await self._app(scope, replay(body, receive), take)
        return response

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not all([trait.admits_handshake() for trait in self._traits]):
            await receive()
            await send({"type": "websocket.http.response.start", "status": 429, "headers": []})
            await send({"type": "websocket.http.response.body", "body": b'{"message": "Too Many Requests"}'})
            return
        await self._app(scope, receive, send)
