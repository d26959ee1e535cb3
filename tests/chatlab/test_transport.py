"""What is opened without boto3 goes the way that boto3 goes, and trusts whom boto3 trusts."""

import os
import socket
import ssl
import threading
from contextlib import suppress

import boto3
import certifi
import gevent
import pytest
import trustme
import websocket
from websockets.sync.server import serve

from chatlab import LabError, aws
from loadtest.connection import Connection
from loadtest.sockets import tls_context

HOST = "chat.example"  # nobody but the proxy knows where that is
NAMES = ["SSL_CERT_FILE", "SSL_CERT_DIR", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"]
NAMES += [name for proxy in ("http_proxy", "https_proxy", "no_proxy", "all_proxy") for name in (proxy, proxy.upper())]


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """Nothing of the person's; and what is set in a test is gone after it."""
    for name in NAMES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    tls_context.cache_clear()
    yield
    tls_context.cache_clear()


def trust(profile=None):
    """What `SSL_CERT_FILE` is after `trust`."""
    aws.trust(boto3.Session(profile_name=profile)._session)
    return os.environ.get("SSL_CERT_FILE")


def test_where_the_system_names_nobody_certifis_list_is_taken(monkeypatch):
    paths = ssl.get_default_verify_paths()._replace(cafile=None, capath=None)
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)  # as a python.org Python on macOS
    assert trust() == certifi.where()


def test_where_the_system_names_somebody_that_is_left_alone(monkeypatch):
    monkeypatch.setattr(aws, "_system_has_certificates", lambda: True)
    assert trust() is None


def test_whom_the_aws_configuration_names_is_trusted_by_everybody(monkeypatch, tmp_path):
    bundle = tmp_path / "company.pem"
    bundle.touch()
    (tmp_path / "config").write_text(f"[profile work]\nca_bundle = {bundle}\n")
    assert trust("work") == str(bundle)
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    assert trust() == str(bundle)


def test_what_the_person_has_set_stays(monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "/mine")
    monkeypatch.setenv("AWS_CA_BUNDLE", "/other")
    assert trust() == "/mine"


def test_a_bundle_that_is_not_there_is_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "none.pem"))
    with pytest.raises(LabError, match=r"^There is no file .*none\.pem, which AWS_CA_BUNDLE or ca_bundle names"):
        trust()


@pytest.fixture
def echo(tmp_path, monkeypatch):
    """The port of a server for wss://chat.example, that says what it hears; who vouches for it is trusted."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

    def answer(connection):
        for text in connection:
            connection.send(text)

    with serve(answer, "127.0.0.1", 0, ssl=context) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.socket.getsockname()[1]
        server.shutdown()
        thread.join()


class Proxy:
    """A proxy that knows CONNECT, and where chat.example is; `asked` is what it was asked."""

    def __init__(self, port, status="200 OK"):
        self.asked, self._port, self._status = [], port, status
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://me:se%20cret@127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += near.recv(1)
            self.asked.append(head.decode())
            near.sendall(f"HTTP/1.1 {self._status}\r\nVia: test\r\n\r\n".encode())
            if self._status.startswith("200"):
                far = socket.create_connection(("127.0.0.1", self._port))
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()
            else:
                near.close()

    @staticmethod
    def _pass_on(one, other):
        with suppress(OSError):
            while data := one.recv(65_536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)

    def close(self):
        self._server.close()


@pytest.fixture
def proxy(echo, monkeypatch):
    proxy = Proxy(echo)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    yield proxy
    proxy.close()


def test_a_websocket_of_the_notebooks_goes_through_the_proxy(proxy):
    opened = websocket.create_connection(f"wss://{HOST}/chat", timeout=10)
    opened.send("hello")
    assert opened.recv() == "hello"
    opened.close()
    assert proxy.asked[0].startswith(f"CONNECT {HOST}:443 HTTP/1.1\r\n")


def test_one_of_the_load_test_goes_through_the_proxy(proxy):
    opened = Connection(f"wss://{HOST}/chat", timeout_s=10)
    heard = []
    opened.watch(lambda: heard.extend(opened.frames(10)))
    opened.send("hello")
    with gevent.Timeout(10):
        while not heard:
            gevent.sleep(0.01)
    assert heard[0].payload == b"hello"
    opened.close()
    assert proxy.asked[0].startswith(f"CONNECT {HOST}:443 HTTP/1.1\r\n")
    assert "Proxy-Authorization: Basic bWU6c2UgY3JldA==" in proxy.asked[0]  # me:se cret


def test_a_proxy_that_refuses_is_named(echo, monkeypatch):
    proxy = Proxy(echo, "407 Proxy Authentication Required")
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    with pytest.raises(ConnectionError, match=r"the proxy 127\.0\.0\.1 refused with status 407"):
        Connection(f"wss://{HOST}/chat", timeout_s=10)
    proxy.close()


@pytest.mark.parametrize("named", ["", "example.org"])
def test_no_proxy_comes_between_this_machine_and_itself(echo, monkeypatch, named):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", named)
    aws.bypass_proxies_for_loopback()
    aws.bypass_proxies_for_loopback()
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == ",".join(filter(None, [named, "127.0.0.1,localhost"]))
    url = f"wss://127.0.0.1:{echo}/"
    websocket.create_connection(url, timeout=10, sslopt={"server_hostname": HOST, "check_hostname": False}).close()
    with pytest.raises(ssl.SSLCertVerificationError, match=r"not valid for '127\.0\.0\.1'"):  # so it was reached
        Connection(url, timeout_s=10)
