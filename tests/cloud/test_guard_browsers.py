"""What a page of another site can do with the local cloud through the browser that shows it: nothing."""

import socket

import pytest
import websocket

from chatlab import poll
from tests.support.chat import ids
from tests.support.guard import ask, form, target
from tests.support.requests import signed


@pytest.mark.parametrize(
    "more",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
        {"Transfer-Encoding": "chunked"},
    ],
    ids=str,
)
def test_the_key_does_not_help_a_page_of_another_site(address, more):
    headers = signed(address, "s3", "GET", "/", {}, "")
    assert ask(address, "GET", "/", headers)[0] == 200
    assert ask(address, "GET", "/", headers | more)[0] == 403


@pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Site": "none"}, {"Sec-Fetch-Site": "same-origin"}], ids=str)
def test_everybody_may_read_the_page_and_nothing_beside_it(address, page, headers):
    status, answered, said = ask(address, "GET", page, headers)
    assert (status, said) == (200, "page")
    assert not [header for header in answered if header.lower().startswith("access-control-")]
    bucket = page.rpartition("/")[0]
    for method, path in [("GET", f"{bucket}/private"), ("GET", f"{bucket}/"), ("PUT", page), ("DELETE", page)]:
        status, _, said = ask(address, method, path, headers)  # by the bucket's policy
        assert status == 403 and (method == "HEAD" or "<Code>AccessDenied</Code>" in said), (method, path)
    for method, path in [
        ("POST", bucket), ("POST", page), ("GET", "/other-bucket/p"), ("GET", "//x"), ("GET", f"{bucket}?policy"),
        ("GET", f"{page}?Action=ListRoles&Version=2010-05-08"), ("GET", f"{bucket}/../other-bucket/p"),
        ("GET", f"{bucket}/%2e%2e/2015-03-31/functions"), ("GET", f"{bucket}/a/.."),
    ]:  # fmt: skip
        status, _, said = ask(address, method, path, headers)
        assert (status, said.partition(":")[0]) == (403, "Without an access key only the page can be read"), path
    assert ask(address, "GET", f"{bucket}/2015-03-31/functions", headers)[0] == 403
    disguised = form(Action="CreateRole", RoleName="mine")[0] | target("DynamoDB_20120810.Scan")[0]
    assert ask(address, "PUT", page, headers | disguised, '{"TableName": "chat"}')[0] == 403


@pytest.mark.parametrize("host", ["evil.example", "localhost", "127.0.0.1"])
def test_under_another_name_it_answers_nothing(address, page, host):
    """DNS rebinding: a page of that name would be of the same origin, whatever it asks for, with a key or without."""
    own_port = f"{host}:{address[1]}" if host != address[0] else host
    only = f"The local cloud answers at http://{address[0]}:{address[1]} only."
    for name in (host, own_port):
        for headers in ({}, signed(address, "s3", "GET", page, {"Host": name}, "")):
            status, _, said = ask(address, "GET", page, headers | {"Host": name})
            assert status == 403 and only in said, name


def test_a_link_to_the_page_may_be_anywhere_and_its_frame_or_picture_may_not(address, page):
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert ask(address, "GET", page, followed)[0] == 200
    assert ask(address, "GET", page, followed | {"Sec-Fetch-Dest": "iframe"})[0] == 403
    assert ask(address, "GET", page, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"})[0] == 403


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "PROPFIND", "CONNECT"])
def test_a_method_that_is_none_of_awss_ends_early(address, page, method):
    headers = {"Access-Control-Request-Method": "PUT", "Origin": "https://evil.example"}
    with socket.create_connection(address, timeout=10) as client:
        lines = [f"{method} {page} HTTP/1.1", f"Host: {address[0]}:{address[1]}", *map(": ".join, headers.items())]
        client.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = client.makefile("rb").read()
    assert answer.split()[1] in (b"403", b"400")  # 400 where no HTTP parser takes it
    assert b"access-control" not in answer.lower()


@pytest.mark.parametrize(
    "head",
    [b"X-Long: ", b"".join(b"X-%d: x\r\n" % n for n in range(2**18)), b"Content-Length: 99999999999\r\n\r\n"],
    ids=["a header without an end", "headers without an end", "a body of 100 GB"],
)
def test_what_is_too_large_ends_early(address, page, head):
    with socket.create_connection(address, timeout=10) as client:
        client.sendall(f"PUT {page} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\n".encode())
        with pytest.raises(OSError):
            for _ in range(64):  # until the other end closes
                client.sendall(head)
                head = b"x" * 2**20
            raise AssertionError("it takes 64 MB")


@pytest.mark.parametrize(
    "header", ["Host: evil.example", "Origin: null", "Content-Length: 1", "Sec-Fetch-Site: cross-site"]
)
def test_a_header_that_is_there_twice_is_refused_whichever_comes_first(address, page, header):
    host = f"{address[0]}:{address[1]}"
    own = {"Host": host, "Origin": f"http://{host}", "Content-Length": "0", "Sec-Fetch-Site": "same-origin"}
    lines = [f"{name}: {value}" for name, value in own.items()]
    for headers in ([header, *lines], [*lines, header]):
        with socket.create_connection(address, timeout=10) as client:
            client.sendall("\r\n".join([f"GET {page} HTTP/1.1", *headers, "", ""]).encode())
            assert client.makefile("rb").readline().split()[1] in (b"403", b"400")  # 400 by the HTTP parser


@pytest.mark.parametrize(
    ("origin", "joins"),
    [
        (None, True),  # wscat
        ("http://127.0.0.1:{port}", True),  # the page, and websocket-client
        ("http://localhost:5173", True),  # the page in development
        ("http://[::1]:5173", True),
        ("https://evil.example", False),
        ("http://127.0.0.1.evil.example", False),
        ("http://localhost@evil.example", False),
        ("file://", False),
        ("null", False),
        ("", False),
    ],
)
def test_who_may_join_the_chat(chat, address, origin, joins):
    options = {"suppress_origin": True} if origin is None else {"origin": origin.format(port=address[1])}
    url = chat.websocket_url(chat.require_api())
    if joins:
        before = ids(chat)
        websocket.create_connection(url, timeout=10, **options).close()
        poll(lambda: ids(chat) <= before, "whoever joined to leave", every_s=0.02)
        return
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        websocket.create_connection(url, timeout=10, **options)
    assert refused.value.status_code == 403
    assert refused.value.resp_body == b"A page of another site may not join the chat.\n"


def test_a_websocket_is_for_an_api_alone(address):
    for path in ("/", "/_ministack/reset", "/_aws/execute-api/x"):
        with pytest.raises(websocket.WebSocketBadStatusException) as refused:
            websocket.create_connection(f"ws://{address[0]}:{address[1]}{path}", timeout=10)
        assert refused.value.status_code == 403
