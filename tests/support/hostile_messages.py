"""What a client or a server says that it may not: wrong frames and handshakes, and messages that are hard to read."""

import struct

TEXT, CONTINUATION, BINARY, CLOSE, PING, PONG = 1, 0, 2, 8, 9, 10


def frame(opcode, data=b"", *, fin=True, masked=True, length=None):
    """A client's frame, right or wrong, masked with zeros. `length` is what it says, if that is not the truth."""
    said = len(data) if length is None else length
    mask = 0x80 if masked else 0
    if said < 126:
        size = struct.pack("!B", mask | said)
    elif said < 2**16:
        size = struct.pack("!BH", mask | 126, said)
    else:
        size = struct.pack("!BQ", mask | 127, said)
    return bytes([fin << 7 | opcode]) + size + bytes(4 if masked else 0) + data


def sent(opcode, data=b"", **more):
    """A server's frame, as `frame`."""
    return frame(opcode, data, masked=False, **more)


def fragments(number):
    """A message of `number` frames of one byte each."""
    return (
        frame(TEXT, b"x", fin=False) + frame(CONTINUATION, b"x", fin=False) * (number - 2) + frame(CONTINUATION, b"x")
    )


BAD_FRAMES = {
    "unmasked": (frame(TEXT, b"x", masked=False), 1002),
    "no UTF-8": (frame(TEXT, b"\xff"), 1007),
    "a length of 2^62": (frame(TEXT, length=2**62), 1009),
    "a frame of 32 KB and a byte": (frame(TEXT, b"x" * (32 * 1024 + 1)), 1009),
    "a message of 128 KB and a byte": (
        b"".join(frame(CONTINUATION if n else TEXT, b"x" * 32 * 1024, fin=False) for n in range(4))
        + frame(CONTINUATION, b"x"),
        1009,
    ),
    "frames without a byte": (frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) * (128 * 1024), 1009),
    "the end of no message": (frame(CONTINUATION, b"x"), 1002),
    "a close with 1005": (frame(CLOSE, struct.pack("!H", 1005)), 1002),
    "HTTP": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1002),
    "binary": (frame(BINARY, b"x"), 1003),
}
"""Frames that nobody may send, and the code with which the socket is closed for it."""
BOMBS = [
    "[" * 60_000, '{"action":' * 10_000, '{"action":"$connect"}', '{"action":"$disconnect"}', '{"action":1}',
    '{"action":["$disconnect"]}', f'{{"action":{"9" * 20_000}}}', "NaN",
]  # fmt: skip
"""Messages for which the local cloud may fail to choose a route, or choose a wrong one."""


def text_frames(text):
    """A message in frames of 32 KB."""
    data = text.encode()
    parts = [data[begin : begin + 32 * 1024] for begin in range(0, len(data), 32 * 1024)]
    return b"".join(
        frame(CONTINUATION if number else TEXT, part, fin=number == len(parts) - 1) for number, part in enumerate(parts)
    )


OPEN = b"HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ACCEPT\r\n\r\n"
"""A server's answer to a handshake, with ACCEPT left open."""
UPGRADE = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
KEY = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
WRONG_DOORS = {
    b"GET PATHx HTTP/1.1\r\nHost: HOST\r\n" + UPGRADE + KEY + b"\r\n": 403,  # another stage
    b"GET /_aws/execute-api/abcdefghij/production HTTP/1.1\r\nHost: HOST\r\n" + UPGRADE + KEY + b"\r\n": 403,
    b"GET PATH HTTP/1.1\r\nHost: HOST\r\n" + UPGRADE + b"\r\n": 400,  # without a key
    b"POST PATH HTTP/1.1\r\nHost: HOST\r\n" + UPGRADE + KEY + b"\r\n": 405,
    b"GET PATH HTTP/1.1\r\nHost: HOST\r\n\r\n": 403,  # HTTP
    b"GET PATH HTTP/1.1\r\nHost: HOST\r\nX-Long: " + b"x" * 70_000 + b"\r\n" + UPGRADE + KEY + b"\r\n": None,
    bytes(100): 400,
}
"""Requests, with PATH and HOST left open, and the status of the answer; None: it is dropped without one."""
