"""TCP to a server, directly or through the proxy that HTTPS_PROXY names, which a company's network may require."""

import base64
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import gevent.socket

__all__ = ["connect"]

LOOPBACK = ("localhost", "127.0.0.1", "::1")
MAX_ANSWER_BYTES = 65_536
"""The longest answer to a request for a connection, status line, headers and body together. Python's http.client takes
no longer line."""


def connect(host: str, port: int, tunnel: bool) -> gevent.socket.socket:
    """Connect to a server; if `tunnel` is set, by a proxy's CONNECT if the environment names one for `host`.

    Raises:
        OSError: if the server or the proxy cannot be reached, or the proxy refuses.
    """
    proxy = _proxy_for(host) if tunnel else None
    if proxy is None:
        return gevent.socket.create_connection((host, port))
    sock = gevent.socket.create_connection((proxy.hostname, proxy.port or 80))
    try:
        _open_tunnel(sock, f"{host}:{port}", proxy)
    except BaseException:
        sock.close()
        raise
    return sock


def _proxy_for(host: str) -> SplitResult | None:
    url = getproxies().get("https")
    if not url or host in LOOPBACK or proxy_bypass(host):
        return None
    return urlsplit(url if "://" in url else f"http://{url}")


def _open_tunnel(sock: gevent.socket.socket, target: str, proxy: SplitResult) -> None:
    """Send a CONNECT request, and read its answer (RFC 9110, section 9.3.6)."""
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.username:
        user = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(user.encode()).decode()}")
    sock.sendall("\r\n".join([*lines, "", ""]).encode())
    answer = bytearray()
    while not answer.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)  # and no byte more, since TLS comes next
        if not byte:
            raise ConnectionError(f"the proxy {proxy.hostname} closed the connection")
        answer += byte
        if len(answer) > MAX_ANSWER_BYTES:
            raise ConnectionError(f"the answer of the proxy {proxy.hostname} has more than {MAX_ANSWER_BYTES:,} bytes")
    status = answer.split(maxsplit=2)[1].decode(errors="replace")
    if status != "200":
        raise ConnectionError(f"the proxy {proxy.hostname} refused with status {status}")
