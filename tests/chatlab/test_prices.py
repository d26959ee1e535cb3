"""AWS's price list, as it is and as it is played."""

import json

import boto3
import httpx
import pytest
from botocore.awsrequest import AWSResponse
from botocore.httpsession import URLLib3Session
from botocore.stub import Stubber

from chatlab import Lab, cost
from chatlab.emulator.traits import with_traits
from chatlab.settings import Settings
from tests.support.asynchronous import run_async


@pytest.fixture
def pricing():
    client = boto3.client("pricing", "us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    with Stubber(client) as stub:
        yield client, stub
        stub.assert_no_pending_responses()


def product(usage, *tiers, published="2026-11-01"):
    """A price list's product, whose tiers are (from, US dollars)."""
    dimensions = {
        str(number): {"beginRange": str(begin), "pricePerUnit": {"USD": str(dollars)}}
        for number, (begin, dollars) in enumerate(tiers)
    }
    return json.dumps(
        {
            "product": {"attributes": {"usagetype": usage}},
            "terms": {"OnDemand": {"term": {"priceDimensions": dimensions}}},
            "publicationDate": f"{published}T10:00:00Z",
        }
    )


def price_list(stub, region, products):
    """Let the price list answer with these products, by their service, one on each page."""
    for service in cost._PRODUCTS:
        expected = {
            "ServiceCode": service,
            "Filters": [{"Type": "TERM_MATCH", "Field": "regionCode", "Value": region}],
        }
        pages = products.get(service, [])
        for number, text in enumerate(pages, start=1):
            more = {"NextToken": str(number)} if number < len(pages) else {}
            stub.add_response("get_products", {"PriceList": [text], **more}, expected)
            expected = expected | {"NextToken": str(number)}
        if not pages:
            stub.add_response("get_products", {"PriceList": []}, expected)


def test_live_prices_are_of_the_first_tier_that_costs_anything(pricing):
    client, stub = pricing
    price_list(
        stub,
        "eu-central-1",
        {
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
        },
    )
    fetched = cost.fetch_prices(client, "eu-central-1")
    assert fetched == cost.PRICES | {
        "WebSocket messages": 1.2e-6,
        "connection minutes": 0.3e-6,
        "Lambda requests": 0.2e-6,
        "Lambda GB-seconds": 1e-5,
        "DynamoDB write units": 7e-7,
        "log GB": 0.63,
    }
    others = f"DynamoDB read units, GB out: {cost.PRICES}"
    assert str(fetched) == f"AWS's price list of eu-central-1 ({others}), 2026-11-20"


@pytest.mark.parametrize(
    ("region", "code"), [("us-east-1", ""), ("us-east-1", "USE1-"), ("us-east-2", "USE2-"), ("eu-west-1", "EU-")]
)
def test_what_only_ends_with_a_usages_name_is_another_thing(pricing, region, code):
    """As AWS's list has them, and here first: tables of the class Infrequent Access, global ones, a Local Zone."""
    client, stub = pricing
    others = ["IA-", "Repl", *(["BOS1-"] if code else [])]
    units = ["ReadRequestUnits", "WriteRequestUnits"]
    dear = [product(f"{code}{other}{unit}", (0, 9)) for other in others for unit in units]
    price_list(stub, region, {"AmazonDynamoDB": [*dear, *(product(f"{code}{unit}", (0, 1e-7)) for unit in units)]})
    fetched = cost.fetch_prices(client, region)
    assert fetched["DynamoDB read units"] == fetched["DynamoDB write units"] == 1e-7


def test_where_the_price_list_does_not_answer_the_table_does(pricing):
    client, stub = pricing
    stub.add_client_error("get_products", "AccessDeniedException")
    fetched = cost.fetch_prices(client, "us-east-1")
    assert fetched == cost.PRICES
    assert str(fetched) == "AWS's pricing pages, us-east-1, November 2026"


def test_what_the_price_list_told_before_it_stopped_answering_counts(pricing):
    client, stub = pricing
    stub.add_response("get_products", {"PriceList": [product("ApiGatewayMessage", (0, 2e-6))]})
    stub.add_client_error("get_products", "ThrottlingException")
    assert cost.fetch_prices(client, "us-east-1") == cost.PRICES | {"WebSocket messages": 2e-6}


@pytest.mark.parametrize("settings", [{"target": "local"}, {"target": "aws", "region": "cn-north-1"}])
def test_where_no_price_list_is_in_us_dollars_the_table_is_taken(settings):
    assert cost.read_prices(Lab(Settings(**settings))) is cost.PRICES


def test_the_rehearsals_price_list_is_one_as_awss(monkeypatch):
    """boto3 against the trait: the trap is in it, and it has pages."""
    app = with_traits(None, "price-list")
    asked = []

    def send(self, request):
        async def ask():
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
                return await client.post(request.url, content=request.body, headers=dict(request.headers.items()))

        answer = run_async(ask())
        asked.append(request.body)
        return AWSResponse(request.url, answer.status_code, answer.headers, Raw(answer.content))

    class Raw:
        def __init__(self, content):
            self._content = content

        def stream(self):
            yield self._content

    monkeypatch.setattr(URLLib3Session, "send", send)
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}
    for region, factor in [("us-east-1", 1), ("eu-west-1", 1.2)]:
        fetched = cost.fetch_prices(boto3.client("pricing", "us-east-1", **keys), region)
        expected = {what: factor * price for what, price in cost.PRICES.items()} | {"GB out": cost.PRICES["GB out"]}
        assert fetched == pytest.approx(expected, rel=1e-5)  # the list has ten digits
        assert fetched.source.startswith(f"AWS's price list of {region} (GB out: ")
    assert len(asked) > 2 * len(cost._PRODUCTS)
