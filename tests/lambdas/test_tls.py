"""The whole chat as it is on AWS: over https and wss, and every client verifies the certificate."""

import os
import ssl

import httpx
import pytest
import trustme
import websocket

from chatlab import local_cloud
from tests.support.chat import heard, people, say
from tests.support.labs import chat_in
from tests.support.processes import listening
from tests.support.requests import signed


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A folder as `CHATLAB_CERTIFICATE` names it, from an authority that nobody knows yet."""
    folder = tmp_path_factory.mktemp("certificate")
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "certificate.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    return folder


@pytest.fixture(scope="module")
def chat(certificate, tmp_path_factory):
    """A chat over TLS, in an environment in which boto3 and Python trust its authority and no other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHATLAB_CERTIFICATE", str(certificate))
        for name in ("AWS_CA_BUNDLE", "SSL_CERT_FILE"):
            patch.setenv(name, str(certificate / "ca.pem"))
        with chat_in(tmp_path_factory.mktemp("tls")) as lab:
            yield lab


def test_nothing_is_said_in_the_clear_and_the_functions_reach_everyone(chat):
    status = local_cloud.status()
    assert listening(status["pid"]) == {("127.0.0.1", status["port"])}
    url = chat.websocket_url(chat.require_api())
    function = chat.client("lambda").get_function_configuration(FunctionName=chat.functions["default"])
    assert url.startswith("wss://")
    assert function["Environment"]["Variables"]["APIGatewayEndpoint"].startswith("https://")
    with pytest.raises((OSError, websocket.WebSocketException)):
        websocket.create_connection(url.replace("wss", "ws", 1), timeout=5)
    with people(chat, 5) as sockets:
        log = say(chat, "from the function")
        assert heard(sockets) == ["from the function"] * 5
    assert (log["connections"], log["delivered"], log["failed"]) == (5, 5, 0)


def test_a_load_test_hears_everything_once(chat, certificate, run):
    test = run(
        *["--host", chat.websocket_url(chat.require_api()), "--ca-file", certificate / "ca.pem"],
        *["--users", 20, "--speakers", 3, "--warm-up", 0, "--broadcasts", 5, "--broadcast-rate", 10],
        environment={"SSL_CERT_FILE": os.devnull},  # so that it trusts --ca-file alone
    )
    assert test.status == 0, test.output
    assert test.summary["complete"]
    assert test.summary["clock"] == "kernel"
    counts = {name: test.summary[name] for name in ("expected", "delivered", "missing", "duplicate")}
    assert counts == {"expected": 100, "delivered": 100, "missing": 0, "duplicate": 0}


@pytest.mark.parametrize(("scheme", "status"), [("https", 200), ("http", 403)])
def test_a_page_is_the_clouds_own_if_it_came_over_tls(chat, scheme, status):
    address = "127.0.0.1", local_cloud.status()["port"]
    headers = signed(address, "s3", "GET", "/", {}, "") | {"Origin": f"{scheme}://{address[0]}:{address[1]}"}
    answer = httpx.get(local_cloud.url(), headers=headers, verify=ssl.create_default_context())
    assert answer.status_code == status


def test_the_guard_says_where_the_cloud_answers(chat):
    answer = httpx.get(local_cloud.url(), headers={"Host": "evil.example"}, verify=ssl.create_default_context())
    assert (answer.status_code, answer.text) == (403, f"The local cloud answers at {local_cloud.url()} only.\n")
