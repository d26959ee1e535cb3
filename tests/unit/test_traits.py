"""The traits of AWS: how they are chosen, and what they limit, delay or forbid."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlab.emulator.api_call import parse_call
from chatlab.emulator.traits import NOT_IN_ALL, TRAITS, middleware, parse_traits, with_traits
from tests.support.traits import APIS, LAMBDA, POST, ask, cloud

pytestmark = pytest.mark.usefixtures("clock")


def test_without_a_trait_it_is_the_application_itself():
    assert with_traits(cloud, "") is cloud


def test_a_trait_that_there_is_not_is_named():
    with pytest.raises(ValueError, match="There is no trait bad: the traits are delay, "):
        with_traits(cloud, "delay,bad")


WORDS = st.one_of(
    st.text(max_size=10),
    st.sampled_from([*TRAITS, "all"]),
    st.sampled_from(["slow", "faults"]).flatmap(
        lambda name: (st.text(max_size=5) | st.floats(0, 1e6).map(str)).map(f"{name}={{}}".format)
    ),
)


@given(st.lists(WORDS, max_size=5).map(",".join))
def test_any_text_names_traits_or_is_refused_in_one_sentence(text):
    try:
        found = parse_traits(text)
    except ValueError as error:
        assert str(error).endswith((".", *TRAITS))
        assert "\n" not in str(error) or "\n" in text  # it repeats what was written
    else:
        assert found.keys() <= TRAITS.keys()
        assert all(number is None or number >= 0 for number in found.values())


@given(st.dictionaries(st.sampled_from(["slow", "faults", "stale-lists"]), st.none() | st.integers(0, 10**6)))
def test_traits_and_their_numbers_are_read_as_they_are_written(meant):
    text = ",".join(name if number is None else f"{name}={number}" for name, number in meant.items())
    assert parse_traits(text) == meant


HEADERS = st.sampled_from([b"authorization", b"x-amz-target", b"content-type", b"host"])
VALUES = st.binary(max_size=30) | st.sampled_from(
    [b"AWS4-HMAC-SHA256 Credential=AKIA/20261125/eu-west-1/s3/aws4_request, x", b"application/x-www-form-urlencoded"]
)


@given(st.lists(st.tuples(HEADERS, VALUES)), st.text(max_size=20), st.binary(max_size=30), st.binary(max_size=30))
def test_any_request_is_described(headers, path, query, body):
    scope = {"method": "POST", "path": f"/{path}", "query_string": query, "headers": headers}
    call = parse_call(scope, body)
    assert isinstance(call.is_control_plane, bool) and isinstance(call.is_post_to_connection, bool)


def test_the_traits_of_a_file_change_with_it(tmp_path):
    (file := tmp_path / "traits").write_text("connections-rate=2\n")
    app = with_traits(cloud, f"@{file}")
    assert [ask(app, "execute-api", "POST", POST).status_code for _ in range(2)] == [200, 429]
    (tmp_path / "next").write_text("")
    (tmp_path / "next").replace(file)
    assert [ask(app, "execute-api", "POST", POST).status_code for _ in range(2)] == [200, 200]


def test_traits_in_a_file_that_is_not_there_are_refused_by_its_name():
    with pytest.raises(ValueError, match=r"^The file /no/such can't be read: "):
        parse_traits("@/no/such")


def test_api_gateways_control_plane_takes_40_calls_at_once_and_10_a_second(clock):
    app = with_traits(cloud, "control-plane-rate")
    statuses = [ask(app, "apigateway", "GET", APIS).status_code for _ in range(42)]
    assert statuses == [200] * 40 + [429] * 2
    clock.now += 1
    assert [ask(app, "apigateway", "GET", APIS).status_code for _ in range(11)] == [200] * 10 + [429]
    assert ask(app, "lambda", "GET", LAMBDA).status_code == 200


def test_a_deployment_is_made_each_five_seconds(clock):
    app = with_traits(cloud, "control-plane-rate")
    deploy = [ask(app, "apigateway", "POST", f"{APIS}/abc/deployments").status_code for _ in range(2)]
    clock.now += 5
    assert [*deploy, ask(app, "apigateway", "POST", f"{APIS}/abc/deployments").status_code] == [200, 429, 200]


def test_where_no_bucket_may_be_public_a_policy_is_refused_and_the_account_says_why():
    app = with_traits(cloud, "no-public-buckets")
    bucket = "https://chat.s3.eu-central-1.amazonaws.com/"
    refused = ask(app, "s3", "PUT", f"{bucket}?policy")
    assert refused.status_code == 403 and "BlockPublicPolicy" in refused.text
    account = "https://123456789012.s3-control.eu-central-1.amazonaws.com/v20180820/configuration/publicAccessBlock"
    assert "<BlockPublicPolicy>true</BlockPublicPolicy>" in ask(app, "s3", "GET", account).text
    assert ask(app, "s3", "DELETE", account).status_code == 403
    assert ask(app, "s3", "PUT", bucket).status_code == ask(app, "s3", "PUT", f"{bucket}?website").status_code == 200


def test_all_traits_are_all_but_those_that_have_to_be_named():
    assert set(parse_traits("all")) == set(TRAITS) - NOT_IN_ALL
    assert set(parse_traits("all,no-public-buckets")) == set(TRAITS) - NOT_IN_ALL | {"no-public-buckets"}
    with pytest.raises(ValueError, match="There is no trait bad"):
        parse_traits("all,bad")


def test_messages_to_connections_have_the_accounts_quota(clock):
    app = with_traits(cloud, "connections-rate")
    statuses = [ask(app, "execute-api", "POST", POST, b"hello").status_code for _ in range(3)]
    assert statuses == [200] * 3
    bucket = app._traits[0]._bucket
    while bucket.take():
        pass
    refused = ask(app, "execute-api", "POST", POST, b"hello")
    assert (refused.status_code, refused.headers["x-amzn-errortype"]) == (429, "LimitExceededException")


def test_answers_take_milliseconds(monkeypatch):
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr(middleware.asyncio, "sleep", sleep)
    app = with_traits(cloud, "delay")
    for _ in range(20):
        ask(app, "execute-api", "POST", POST, b"hello")
        ask(app, "lambda", "GET", LAMBDA)
    assert 0.004 < sum(slept[::2]) / 20 < 0.012 and 0.02 < sum(slept[1::2]) / 20 < 0.045


def test_all_together_let_an_ordinary_call_through():
    assert ask(with_traits(cloud, "all"), "lambda", "GET", LAMBDA).json() == {"asked": 1}
    assert len(TRAITS) == len(with_traits(cloud, "all")._traits) + len(NOT_IN_ALL)


def test_a_trait_can_have_another_number(clock):
    app = with_traits(cloud, "all,stale-lists=30")
    assert len(app._traits) == len(TRAITS) - len(NOT_IN_ALL)
    buckets = "https://s3.eu-central-1.amazonaws.com/"
    first = ask(app, "s3", "GET", buckets).json()
    clock.now += 29
    assert ask(app, "s3", "GET", buckets).json() == first
    clock.now += 2
    assert ask(app, "s3", "GET", buckets).json() != first
    refusals = {"delay=3": "The trait delay takes no number.", "slow=x": 'slow takes a number, and "x" is none.'}
    for wrong, sentence in refusals.items():
        with pytest.raises(ValueError, match=sentence):
            with_traits(cloud, wrong)
