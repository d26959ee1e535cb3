"""AppSync Events on the local cloud: who gets in, who hears what, and which of AWS's limits are played."""

import json
import time

import pytest
from botocore.exceptions import ClientError

from chatlab import Lab, list_resources
from chatlab.inventory import list_tagged_arns
from tests.emulator.test_guard import EVIL, refused_handshake
from tests.support.events import CHANNEL, Client, api_in, new_key, subprotocols, url
from tests.support.labs import lab_in, used_by
from tests.support.requests import ask


@pytest.fixture(scope="module")
def api(chat):
    with api_in(chat) as made:
        yield made


@pytest.fixture(scope="module")
def key(chat, api):
    return new_key(chat, api)


def test_two_hear_what_one_says_in_a_socket_or_by_http(api, key, address):
    ada, grace = Client(api, key), Client(api, key)
    ada.publish('"hello"')
    assert [each.hear("data")["event"] for each in (ada, grace)] == ['"hello"'] * 2
    host, _, path = api["dns"]["HTTP"].partition("/")
    assert host == f"{address[0]}:{address[1]}"
    body = json.dumps({"channel": CHANNEL, "events": ['"again"']})
    headers = {"x-api-key": key, "Content-Type": "application/json"}
    status, _, said = ask(address, "POST", f"/{path}/event", headers, body)
    assert status == 200 and json.loads(said)["failed"] == []
    assert [each.hear("data")["event"] for each in (ada, grace)] == ['"again"'] * 2


def test_only_a_key_of_this_api_that_has_not_expired_gets_in_and_no_page_of_another_site(chat, api, key, address):
    body = json.dumps({"channel": CHANNEL, "events": ['"x"']})
    path = f"/{api['dns']['HTTP'].partition('/')[2]}/event"
    expired = new_key(chat, api, seconds=1)
    with api_in(chat) as other:
        keys = [new_key(chat, other), "da2-" + "0" * 26, ""]
        time.sleep(1.1)
        for wrong in [*keys, expired]:
            refused = refused_handshake(url(api), subprotocols=subprotocols(api, wrong))
            assert refused.status_code == 403 and b"API key" in refused.resp_body, wrong
            assert ask(address, "POST", path, {"x-api-key": wrong}, body)[0] == 403
    assert refused_handshake(url(api)).status_code == 403
    assert refused_handshake(url(api), subprotocols=subprotocols(api, key), origin=EVIL).status_code == 403
    assert ask(address, "POST", path, {"x-api-key": key, "Origin": EVIL}, body)[0] == 403
    # It opens nothing else, and a name that leads here by a stranger's DNS nothing at all.
    assert ask(address, "GET", "/2015-03-31/functions", {"x-api-key": key})[0] == 403
    named = {"Host": f"{api['apiId']}.appsync-realtime-api.us-east-1.amazonaws.com"}
    assert refused_handshake(url(api), subprotocols=subprotocols(api, key), header=named).status_code == 403


def test_what_is_larger_than_240_kb_is_dropped_and_its_publisher_hears_of_no_error(api, key):
    ada, grace = Client(api, key), Client(api, key)
    for kb in (40, 200, 250, 1):
        ada.publish(json.dumps("x" * (1024 * kb - 2)))
        assert ada.hear("publish_success")["failed"] == []
    assert [len(grace.hear("data")["event"]) // 1024 for _ in range(3)] == [40, 200, 1]


def test_one_connection_publishes_25_times_a_second(api, key):
    ada, grace = Client(api, key), Client(api, key)
    for number in range(40):
        ada.publish(f'"{number}"')
    assert ada.hear("publish_error")["errors"][0]["message"] == "Rate limit exceeded"
    assert [grace.hear("data")["event"] for _ in range(25)] == [f'"{number}"' for number in range(25)]


def test_an_api_takes_so_many_events_a_second_and_delivers_a_hundred_times_as_many(tmp_path, monkeypatch):
    monkeypatch.setenv("CHATLAB_TRAITS", "event-rate=2")
    with lab_in(tmp_path) as lab, api_in(lab) as api:
        ada, grace = (Client(api, new_key(lab, api)) for _ in range(2))
        for number in range(150):
            grace.say(type="subscribe", id=f"{number}", channel=CHANNEL)
            grace.hear("subscribe_success")
        outcomes = []
        for number in range(3):
            ada.publish(f'"{number}"')
            outcomes.append(ada.hear("publish_success")["failed"])
        assert outcomes[:2] == [[], []] and outcomes[2][0]["errorMessage"] == "Rate limit exceeded"
        time.sleep(1)
        ada.publish('"later"')
        assert [grace.hear("data")["event"] for _ in range(152)] == ['"0"'] * 151 + ['"later"']


PERMISSIONS = "appsync:CreateApi appsync:TagResource appsync:CreateChannelNamespace appsync:CreateApiKey".split()


@pytest.mark.parametrize("missing", PERMISSIONS)
def test_its_control_plane_asks_iam(chat, missing):
    allow = [
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": missing, "Resource": "*"},
    ]
    with used_by("ada", chat, {"Version": "2012-10-17", "Statement": allow}), pytest.raises(ClientError, match=missing):
        lab = Lab(chat.settings)
        with api_in(lab) as api:
            new_key(lab, api)


def test_both_finders_see_it(chat, api):
    found = list_resources(chat).query("service == 'appsync'")
    assert {*found["kind"]} == {"event api", "channel namespace", "api key"}
    tagged = [arn for arn in list_tagged_arns(chat) if ":appsync:" in arn]
    assert len(tagged) == 2 and all(api["apiId"] in arn for arn in tagged)


def test_the_load_test_measures_it(run, api, key):
    words = ["--host", url(api), "--protocol", "appsync-events", "--channel", CHANNEL, "--users", 60]
    words += ["--broadcasts", 10, "--broadcast-rate", 10, "--warm-up", 0]
    test = run(*words, environment={"LOADTEST_KEY": key})
    assert (test.status, test.summary["delivered"], test.summary["foreign"]) == (0, 600, 0), test.output
    elsewhere = run(*words, "--channel", "/attic/x", environment={"LOADTEST_KEY": key})
    assert "could be made: refused by the server: UnauthorizedException: No channel" in elsewhere.errors[0]
    refused = run(*words, environment={"LOADTEST_KEY": "da2-wrong"})
    assert "could be made: handshake refused with status 403." in refused.errors[0]
    assert "da2-" not in test.output + refused.output
