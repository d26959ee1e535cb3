"""What a chat costs: sums done by hand, the notebooks' own loads, and AWS's price list."""

import inspect
import json
import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest
from botocore.stub import Stubber

from chatlab import Lab, LabError, cost, limits
from chatlab.paths import ROOT
from chatlab.settings import Settings
from tests.support.cells import cells


def dollars_of(bill):
    """What each quantity of a bill costs, by its name."""
    return {what: n * bill.prices[what] for what, n in bill.quantities.items()}


def test_a_bill_is_the_sum_of_its_rows():
    bill = cost.estimate(connections=100, broadcasts=10, payload_bytes=200, minutes=1)
    by_hand = {
        "WebSocket messages": 1010 * 1.00e-6,
        "connection minutes": 100 * 0.25e-6,
        "Lambda requests": 210 * 0.20e-6,
        # 100 calls of 10 ms each with 0.5 and 0.25 GB, and ten that post to 100 connections at 8,000 a second
        "Lambda GB-seconds": (100 * 0.010 * 0.75 + 10 * 0.0125 * 1769 / 1024) * 0.0000133334,
        "DynamoDB read units": 10 * 3 / 2 * 0.125e-6,  # 11 KB are three units, and half are charged
        "DynamoDB write units": 200 * 0.625e-6,
        "log GB": 210 * 700 / 1e9 * 0.50,
        "metric months": 10 / 730 * 0.30,  # ten metrics for one hour
        "GB out": 1000 * 240 / 1e9 * 0.09,
    }
    assert dollars_of(bill) == pytest.approx(by_hand)
    assert bill.dollars == pytest.approx(sum(by_hand.values()))


def test_aws_bills_in_whole_steps_of_32_kb_minutes_and_hours():
    def quantities(**load):
        return cost.estimate(**{"connections": 9, "broadcasts": 1} | load).quantities

    messages = [quantities(payload_bytes=size)["WebSocket messages"] for size in (32_768, 32_769, 131_072)]
    assert messages == [10, 20, 40]
    assert quantities(minutes=1.01)["connection minutes"] == 18
    assert quantities(minutes=61)["metric months"] == 2 * 10 / 730


def test_a_broadcast_is_assumed_to_post_as_fast_as_notebook_07_lets_it():
    parameters = limits.DEFAULT
    assert min(parameters.posts_per_s, parameters.shared_per_s) == cost.POSTS_PER_SECOND
    assert (parameters.share, parameters.requests_per_s) == (cost.POSTS_SHARE, cost.REQUESTS_PER_S)
    assert (parameters.hand_over_s, parameters.timeout_s) == (cost.HAND_OVER_S, cost.TIMEOUT_S)


WORDS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@pytest.mark.parametrize("page", ["README.md", "docs/aws.md"])  # notebook 00 computes it
def test_the_pages_say_what_the_whole_lab_costs_as_it_is_computed(page):
    """The sum, notebook 08's part of it, and what a busy room costs."""
    text = " ".join((ROOT / page).read_text().split())
    growth = cost.estimate_growth(cost.GROWTH_STEPS, cost.GROWTH_BROADCASTS_PER_S)
    whole, part = (WORDS[round(100 * dollars)] for dollars in (cost.estimate_whole_lab().dollars, growth.dollars))
    assert f"about {whole} cents{f', {part} of them for notebook 08' if page == 'docs/aws.md' else ''}" in text
    hour = cost.estimate(connections=1_000, broadcasts=36_000, minutes=60).quantities["WebSocket messages"]
    assert f"{1e-6 * hour:.0f} dollars an hour" in text


def code_of(name):
    """All code of a notebook."""
    return "\n".join(cells(name))


def value(code, pattern):
    """The number that follows a pattern in the code."""
    return float(re.search(rf"^ *{pattern}([\d.]+)", code, re.MULTILINE)[1])


def test_the_load_that_is_priced_beforehand_is_that_of_the_notebooks():
    load_test, scaling = code_of("06_load_test"), code_of("08_how_many")
    connections, broadcasts, warm_up = (value(load_test, f"{of} = ") for of in ("CONNECTIONS", "BROADCASTS", "WARM_UP"))
    assert (connections, broadcasts + warm_up) == (cost.LOAD_TEST["connections"], cost.LOAD_TEST["broadcasts"])
    connections, broadcasts = (value(code_of("07_faster"), f"{of} = ") for of in ("CONNECTIONS", "BROADCASTS"))
    assert (3 * connections, broadcasts + 1) == (cost.FASTER["connections"], cost.FASTER["broadcasts"])
    each = inspect.signature(cost.estimate_growth).parameters["broadcasts_each"].default
    assert value(scaling, "BROADCASTS = ") + 1 == each
    assert "for part in (16, 8, 4, 2, 1)" in scaling
    assert [1_000 // part for part in (16, 8, 4, 2, 1)] == cost.GROWTH_STEPS
    assert f"BROADCAST_RATE = {cost.GROWTH_BROADCASTS_PER_S}\n" in scaling


def test_the_load_is_well_below_what_the_stage_takes():
    stage, load_test, scaling = (code_of(name) for name in ("04_websocket_api", "06_load_test", "08_how_many"))
    limit = 'ThrottlingRateLimit": '
    messages, connects = (value(stage, rf'{route} = {{"{limit}') for route in ("messages", "connects"))
    at_once = value(stage, rf'connects = {{"{limit}[\d.]+, "ThrottlingBurstLimit": ')
    broadcasts = value(load_test, r"BROADCAST_RATE = min\("), cost.GROWTH_BROADCASTS_PER_S
    assert 2 * max(broadcasts) < messages
    assert 2 * max(value(code, r"SPAWN_RATE = min\(") for code in (load_test, scaling)) <= connects
    assert cost.GROWTH_STEPS[-1] <= at_once, "everybody leaves at once"


def test_a_stranger_is_bounded_by_what_the_stage_takes():
    bill = cost.estimate_abuse(connections=10, messages_per_s=20, connects_per_s=0)
    assert bill.quantities["WebSocket messages"] == pytest.approx(3600 * 20 * 11)
    assert bill.quantities["connection minutes"] == pytest.approx(600)
    same = cost.estimate(connections=10, broadcasts=3600 * 20, minutes=60)  # but they connect, and leave, only once
    rest, same_rest = (each.dollars - dollars_of(each)["Lambda GB-seconds"] for each in (bill, same))
    assert rest == pytest.approx(same_rest, rel=0.02)
    # And some do not read: each broadcast may try until its time is over.
    assert bill.quantities["Lambda GB-seconds"] == pytest.approx(3600 * 20 * cost.TIMEOUT_S * 1769 / 1024)


def test_coming_and_going_is_a_function_two_writes_and_a_minute_each():
    bill = cost.estimate_abuse(connections=0, messages_per_s=0, connects_per_s=200)
    assert bill.quantities["Lambda requests"] == 2 * 720_000 == bill.quantities["DynamoDB write units"]
    assert bill.quantities["connection minutes"] == 720_000
    assert bill.quantities["WebSocket messages"] == 0


@pytest.mark.parametrize(
    ("connections", "requests_per_s", "concurrency"),
    [(1_000, 10_000, 1_000), (100_000, 2_500, 1_000), (1_000, 10_000, 10)],
)
def test_above_the_quota_it_is_the_quota_and_functions_that_wait_for_it(connections, requests_per_s, concurrency):
    bill = cost.estimate_abuse(connections, 20, 0, requests_per_s=requests_per_s, concurrency=concurrency)
    assert bill.quantities["WebSocket messages"] == 3600 * requests_per_s
    waiting = min(concurrency, 20 * (18 + 30))
    assert bill.quantities["Lambda GB-seconds"] == pytest.approx(3600 * waiting * 1769 / 1024)
    items = min(20 * connections, requests_per_s + 20 * cost.READ_AHEAD)
    units = items * cost.ITEM_BYTES / 4096 / 2 + 40  # and a begun page for each call, of which a broadcast has two
    assert bill.quantities["DynamoDB read units"] == pytest.approx(3600 * units)


def test_a_strangers_bill_grows_with_whatever_he_is_given():
    def dollars(**more):
        return cost.estimate_abuse(**{"connections": 100, "messages_per_s": 20, "connects_per_s": 200} | more).dollars

    least = dollars()
    for more in ({"connections": 200}, {"messages_per_s": 40}, {"connects_per_s": 400}, {"payload_bytes": 131_072}):
        assert dollars(**more) > least, more
    ascending = [dollars(connections=number) for number in (10, 100, 400, 499, 500, 501, 1_000, 10_000)]
    assert ascending == sorted(ascending)


def test_who_reads_the_page_at_a_gigabit_is_bounded_by_the_line_and_by_what_s3_takes():
    """By hand: an eighth of a GB a second, and 5,500 GETs a second."""
    assert cost.estimate_reading().dollars == pytest.approx(450 * 0.09 + 3600 * 5_500 * 0.0004 / 1000)
    dear = cost.Prices(cost.PRICES | {"GB out": 0.15}, "made up")
    assert dollars_of(cost.estimate_reading(10, dear))["GB out"] == pytest.approx(4_500 * 0.15)


@pytest.mark.parametrize("page", ["aws.md", "security.md"])  # notebook 04 computes it
def test_the_pages_say_what_a_stranger_costs_as_it_is_computed(page):
    stage = code_of("04_websocket_api")
    taken = [value(stage, rf'{route} = {{"ThrottlingRateLimit": ') for route in ("messages", "connects")]
    small, large = (cost.estimate_abuse(1_000, *taken, payload).dollars for payload in (200, 128 * 1024))
    text = " ".join((ROOT / "docs" / page).read_text().split())
    assert f"{small:.0f} dollars an hour with texts of 200 bytes, {large:.0f} with the largest" in text
    assert f"{cost.estimate_reading().dollars:.0f} dollars an hour for each Gbit/s" in text


def test_a_shown_bill_has_no_more_digits_than_are_known():
    shown = cost.estimate(200, 22, minutes=1).shown
    assert shown.loc["WebSocket messages"].tolist() == ["4,422", "1 a million", "0.0044"]
    assert shown.loc["metric months"].tolist() == ["0.0137", "0.30", "0.0041"]
    assert shown.loc["Lambda GB-seconds", "price in US dollars"] == "13.3 a million"
    assert shown.loc["DynamoDB read units", "US dollars"] == "under 0.0001"
    assert shown.loc["in all"].tolist() == ["", "", f"{cost.estimate(200, 22, minutes=1).dollars:.4f}"]
    assert "metric months" not in cost.estimate(**cost.LOAD_TEST).shown.index  # of nothing there is no line


# --- other services, and servers of your own ---


def test_an_hour_of_a_room_elsewhere_is_its_messages_minutes_and_bytes_out():
    dear = cost.Prices({what: 1.7 * price for what, price in cost.PRICES.items()}, "made up")
    options = {"payload_bytes": 300, "posts_per_second": 777, "prices": dear}
    hour = cost.compare_alternatives(1000, 1, **options)["dollars_per_hour"]
    bill = cost.estimate(1000, 3600, minutes=60, **options)
    assert hour["API Gateway (this chat)"] == bill.dollars
    out = 3.6e6 * 340 / 1e9 * 0.09 * 1.7
    assert hour["IoT Core"] == pytest.approx(3600 * 1001 * 1.00e-6 + 60_000 * 0.08e-6 + out)
    assert hour["AppSync Events"] == pytest.approx((3600 * 1001 + 2 * 1000) * 1.7e-6 + 60_000 * 0.08e-6 * 1.7 + out)
    assert hour["servers of your own"] == pytest.approx(2 * 0.145 + out)


def test_larger_messages_cost_more_where_the_steps_are_smaller():
    small, large = (cost.compare_alternatives(1000, 1, payload)["dollars_per_hour"] for payload in (5_000, 6_000))
    out = 3.6e6 * 1_000 / 1e9 * 0.09
    assert large["IoT Core"] - small["IoT Core"] == pytest.approx(3600 * 1001 * 1.00e-6 + out)
    assert large["API Gateway (this chat)"] - small["API Gateway (this chat)"] == pytest.approx(out)


@pytest.mark.parametrize(
    ("connections", "broadcasts_per_s", "servers"),
    [(1, 1, 2), (7 * cost.SERVER_CONNECTIONS, 0.01, 7), (1000, 3 * cost.SERVER_DELIVERIES_PER_S / 1000, 3)],
)
def test_deliveries_are_bounded_by_the_quota_or_by_as_many_servers_as_are_needed(
    connections, broadcasts_per_s, servers
):
    at_once = cost.compare_alternatives(connections, broadcasts_per_s, requests_per_s=2_500)["deliveries_per_s"]
    assert at_once["API Gateway (this chat)"] == 2_500
    assert at_once["servers of your own"] == servers * cost.SERVER_DELIVERIES_PER_S


# --- prices ---


@pytest.fixture
def pricing():
    client = boto3.client("pricing", "us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    with Stubber(client) as stub:
        yield client, stub
        stub.assert_no_pending_responses()


def product(usage, *tiers, published="2026-11-01"):
    """A price list's product, whose tiers are (from, US dollars)."""
    prices = [{"beginRange": str(begin), "pricePerUnit": {"USD": str(dollars)}} for begin, dollars in tiers]
    terms = {"OnDemand": {"term": {"priceDimensions": dict(enumerate(prices))}}}
    published = f"{published}T10:00:00Z"
    found = {"product": {"attributes": {"usagetype": usage}}, "terms": terms, "publicationDate": published}
    return json.dumps(found)


def price_list(stub, region, products):
    """Let the price list answer with these products of each service, one on a page."""
    for service in cost._PRODUCTS:
        filters = [{"Type": "TERM_MATCH", "Field": "regionCode", "Value": region}]
        expected = {"ServiceCode": service, "Filters": filters}
        pages = products.get(service, [])
        for number, text in enumerate(pages, start=1):
            more = {"NextToken": str(number)} if number < len(pages) else {}
            stub.add_response("get_products", {"PriceList": [text], **more}, expected)
            expected = expected | {"NextToken": str(number)}
        if not pages:
            stub.add_response("get_products", {"PriceList": []}, expected)


def test_live_prices_are_of_the_first_tier_that_costs_anything(pricing):
    client, stub = pricing
    products = {
        "AmazonApiGateway": [
            product("EUC1-ApiGatewayRequest", (0, 9)),
            product("EUC1-ApiGatewayMessage", (1_000_000_000, 0.9e-6), (0, 1.2e-6)),
            product("EUC1-ApiGatewayMinute", (0, 0.3e-6), published="2026-11-20"),
        ],
        "AWSLambda": [product("EUC1-Request-ARM", (0, 0.2e-6)), product("EUC1-Lambda-GB-Second-ARM", (0, 1e-5))],
        "AmazonDynamoDB": [product("EUC1-ReadRequestUnits", (0, 0)), product("EUC1-WriteRequestUnits", (0, 7e-7))],
        "AmazonCloudWatch": [
            product("EUC1-DataProcessing-Bytes", (0, 0), (5, 0.63)),
            product("EUC1-CW:MetricMonitorUsage", (0, 0.3), (10_000, 0.1)),
        ],
        "AmazonS3": [product("EUC1-Requests-SIA-Tier2", (0, 9)), product("EUC1-Requests-Tier2", (0, 4.3e-7))],
        "AWSAppSync": [
            product("EUC1-EventAPI-Operation", (0, 1.1e-6)),
            product("EUC1-EventAPI-ConnectionDuration", (0, 9e-8)),
        ],
        "AmazonECS": [
            product("EUC1-Fargate-ARM-vCPU-Hours:perCPU", (0, 9)),
            product("EUC1-Fargate-vCPU-Hours:perCPU", (0, 0.05)),
            product("EUC1-Fargate-GB-Hours", (0, 0.005)),
        ],
        "AmazonVPC": [product("EUC1-PublicIPv4:InUseAddress", (0, 0.006))],
    }
    price_list(stub, "eu-central-1", products)
    fetched = cost.fetch_prices(client, "eu-central-1")
    assert fetched == cost.PRICES | {
        "WebSocket messages": 1.2e-6, "connection minutes": 0.3e-6, "Lambda requests": 0.2e-6,
        "Lambda GB-seconds": 1e-5, "DynamoDB write units": 7e-7, "log GB": 0.63,
        "S3 requests": 4.3e-7, "AppSync operations": 1.1e-6, "AppSync connection minutes": 9e-8,
        "Fargate vCPU-hours": 0.05, "Fargate GB-hours": 0.005, "public IPv4 hours": 0.006,
    }  # fmt: skip
    assert list(cost.estimate_tasks(1, 1, 1, 60).shown.iloc[:, 1])[:2] == ["0.0405", "0.00445"]
    assert cost.estimate_tasks(4, 2, 4, 0.5, fetched).dollars == pytest.approx(4 / 60 * (0.1 + 0.02 + 0.006))
    others = f"DynamoDB read units, GB out: {cost.PRICES}"
    assert str(fetched) == f"AWS's price list of eu-central-1 ({others}), 2026-11-20"


@pytest.mark.parametrize(("region", "code"), [("us-east-1", ""), ("us-east-1", "USE1-"), ("eu-west-1", "EU-")])
def test_what_only_ends_with_a_usages_name_is_another_thing(pricing, region, code):
    """As AWS's list has them, and here first: tables of the class Infrequent Access, global ones, a Local Zone."""
    client, stub = pricing
    others = ["IA-", "Repl", *(["BOS1-"] if code else [])]
    units = ["ReadRequestUnits", "WriteRequestUnits"]
    dear = [product(f"{code}{other}{unit}", (0, 9)) for other in others for unit in units]
    price_list(stub, region, {"AmazonDynamoDB": [*dear, *(product(f"{code}{unit}", (0, 1e-7)) for unit in units)]})
    fetched = cost.fetch_prices(client, region)
    assert fetched["DynamoDB read units"] == fetched["DynamoDB write units"] == 1e-7


def test_where_the_price_list_stops_answering_the_table_has_the_rest(pricing):
    client, stub = pricing
    stub.add_client_error("get_products", "AccessDeniedException")
    assert cost.fetch_prices(client, "us-east-1") is cost.PRICES
    stub.add_response("get_products", {"PriceList": [product("ApiGatewayMessage", (0, 2e-6))]})
    stub.add_client_error("get_products", "ThrottlingException")
    assert cost.fetch_prices(client, "us-east-1") == cost.PRICES | {"WebSocket messages": 2e-6}


@pytest.mark.parametrize("settings", [{"target": "local"}, {"target": "aws", "region": "cn-north-1"}])
def test_where_no_price_list_is_in_us_dollars_the_table_is_taken(settings):
    assert cost.read_prices(Lab(Settings(**settings))) is cost.PRICES


@pytest.fixture
def public_lists(tmp_path):
    """A folder with AWS's public price lists, and the URL at which a server on this machine has it.

    Made by hand in the documented form, each with twice the table's prices, and dear things beside them:
    https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/reading-service-price-list-file-for-services.html
    """
    for service, usages in cost._LISTED.items():
        twice = {usage: product(usage, (0, 0), (100, 2 * cost.PRICES[name])) for usage, name in usages.items()}
        dear = {f"BOS1-{usage}": product(f"USE1-BOS1-{usage}", (0, 9)) for usage in usages}
        found = {sku: json.loads(text) for sku, text in (dear | twice).items()}
        listed = {
            "publicationDate": "2026-12-01T10:00:00Z",
            "products": {sku: {"sku": sku} | each["product"] for sku, each in found.items()},
            "terms": {"OnDemand": {sku: each["terms"]["OnDemand"] for sku, each in found.items()}},
        }
        path = tmp_path / "offers/v1.0/aws" / service / "current/us-east-1/index.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(listed))
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        yield tmp_path, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_table_is_renewed_from_the_public_lists_and_each_change_is_printed(public_lists, monkeypatch, capsys):
    monkeypatch.setenv("AWS_PROFILE", "that-does-not-exist")  # nobody signs in
    folder, url = public_lists
    cost.renew([], url, folder / "prices.json")
    renewed = cost.Prices(**json.loads((folder / "prices.json").read_text()))
    assert renewed == {name: 2 * price for name, price in cost.PRICES.items()}
    assert str(renewed) == "AWS's price list of us-east-1, 2026-12-01"
    printed = capsys.readouterr().out
    assert "WebSocket messages    2 a million         the table had 1 a million (published 2026-12-01)\n" in printed
    assert printed.count("the table had") == len(cost.PRICES)


def test_the_table_stays_if_a_list_is_too_slow_lacks_a_price_or_is_not_there(public_lists, monkeypatch):
    folder, url = public_lists
    path = folder / "offers/v1.0/aws/AmazonDynamoDB/current/us-east-1/index.json"
    path.write_text('{"products": {}, "terms": {"OnDemand": {}}, "publicationDate": ""}')
    with monkeypatch.context() as impatient, pytest.raises(LabError, match="not read within 0 s"):
        impatient.setattr(cost, "LIST_TIMEOUT_S", 0)
        cost.renew([], url, folder / "prices.json")
    with pytest.raises(LabError, match="no DynamoDB read units, DynamoDB write units"):
        cost.renew([], url, folder / "prices.json")
    path.unlink()
    with pytest.raises(LabError, match=r"AmazonDynamoDB can't be read \(HTTPError: HTTP Error 404"):
        cost.renew([], url, folder / "prices.json")
    assert not (folder / "prices.json").exists()
