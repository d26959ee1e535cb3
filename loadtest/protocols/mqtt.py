"""MQTT 3.1.1 over WebSocket, QoS 0: each connection subscribes to the topic --channel, and publishes to it.

Numbers in parentheses are sections of https://docs.oasis-open.org/mqtt/mqtt/v3.1.1/os/mqtt-v3.1.1-os.html.
"""

import re
import secrets

from loadtest.messages import MAX_MESSAGE_BYTES
from loadtest.protocols import Payload, Protocol, Taken, remembered
from loadtest.sockets import LimitError

CONNECT, CONNACK, PUBLISH, SUBSCRIBE, SUBACK, PINGREQ, PINGRESP = 1, 2, 3, 8, 9, 12, 13
KEEP_ALIVE_S = 60
Packet = tuple[int, bytes]  # kind and body (2)
REFUSALS = {1: "version of MQTT", 2: "client id", 3: "unavailable", 4: "user name or password", 5: "not authorized"}
"""What the return codes of a CONNACK mean (3.2.2.3)."""
HEADER = re.compile(b".([\x80-\xff]{0,3}[\0-\x7f])", re.DOTALL)  # the kind, the digits of the length (2.2)


class Mqtt(Protocol):
    """One subscriber and publisher of a topic; `LOADTEST_KEY` is `user:password`, or not set."""

    subprotocols, default_channel = ("mqtt",), "loadtest"
    ping_s, ping = KEEP_ALIVE_S / 2, bytes((PINGREQ << 4, 0))
    is_subscribed = False
    _rest = b""

    def begin(self) -> tuple[Payload, ...]:
        client_id = string(secrets.token_hex(11))  # 23 characters at most, and never twice (3.1.3.1)
        login = [string(part) for part in self.key.partition(":")[::2]] if self.key else []
        flags = 0xC2 if login else 0x02  # a clean session; whether user name and password follow (3.1.2.3)
        return (pack(CONNECT, 0, string("MQTT"), bytes((4, flags, 0, KEEP_ALIVE_S)), client_id, *login),)

    def wrap(self, text: str) -> Payload:
        return pack(PUBLISH, 0, string(self.channel), text.encode())

    def take(self, payload: bytes) -> Taken:
        packets, self._rest = split(self._rest + payload)
        heard = []
        for kind, body in packets:
            if kind == PUBLISH:
                heard.append(body[2 + int.from_bytes(body[:2]) :])  # behind the topic (3.3.2)
            elif kind == CONNACK and (answer := int.from_bytes(body[1:])):
                return Taken(error=REFUSALS.get(answer, f"CONNACK {answer}"))
            elif kind == CONNACK:
                return Taken(replies=(pack(SUBSCRIBE, 2, b"\0\1", string(self.channel), b"\0"),))
            elif kind == SUBACK and body[2:] == b"\x80":  # (3.9.3)
                return Taken(error=f"no subscription to {self.channel}")
            self.is_subscribed |= kind == SUBACK
        return Taken(tuple(heard))


@remembered
def split(data: bytes) -> tuple[list[Packet], bytes]:
    """The complete packets, and the beginning of the next one: a frame may have several, or a part of one (6)."""
    packets, start = list[Packet](), 0
    while header := HEADER.match(data, start):
        length = sum((digit & 127) << 7 * k for k, digit in enumerate(header[1]))
        if (end := header.end() + length) > len(data):
            break
        packets.append((data[start] >> 4, data[header.end() : end]))
        start = end
    if len(data) - start > MAX_MESSAGE_BYTES:
        raise LimitError(f"an MQTT packet of more than {MAX_MESSAGE_BYTES:,} bytes", 1009)
    return packets, data[start:]


def pack(kind: int, flags: int, *fields: bytes) -> bytes:
    """A packet, its length in digits of base 128 (2.2.3)."""
    body = b"".join(fields)
    size, head = len(body), bytearray((kind << 4 | flags,))
    while size > 127:
        head.append(size & 127 | 128)
        size >>= 7
    return bytes((*head, size)) + body


def string(text: str) -> bytes:
    """A text, its length in front (1.5.3)."""
    return len(data := text.encode()).to_bytes(2) + data
