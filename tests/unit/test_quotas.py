"""The account's quotas, of an account that tells them and of one that doesn't. AWS's answers are botocore's Stubber's:
no machine here has an account."""

import boto3
import pytest

from chatlab.capacity import quotas
from tests.support.stubs import answering

REGION = "eu-south-1"


class Account:
    """Clients that answer as told, in the place of a lab."""

    region = REGION

    def __init__(self, **answers):
        self._answers = answers

    def client(self, service):
        client = boto3.client(service, region_name=REGION, aws_access_key_id="none", aws_secret_access_key="none")
        return answering(client, self._answers[service.replace("-", "_")])


def account(requests="AccessDeniedException", connects="AccessDeniedException", concurrency="AccessDeniedException"):
    return Account(
        apigateway=("get_account", requests),
        service_quotas=("get_service_quota", connects),
        **{"lambda": ("get_account_settings", concurrency)},
    )


def test_what_the_account_tells_is_taken():
    found = quotas.read_quotas(
        account(
            {"throttleSettings": {"rateLimit": 40_000.0, "burstLimit": 20_000}},
            {"Quota": {"Value": 1_200.0}},
            {"AccountLimit": {"ConcurrentExecutions": 60, "UnreservedConcurrentExecutions": 50}},
        )
    )
    assert (found.requests_per_s, found.connects_per_s, found.concurrency) == (40_000, 1_200, 50)
    assert all(found.is_live(name) for name in found.sources)
    assert [row["value"] for row in found.rows] == ["40,000", "1,200", "50"]


def test_what_it_may_not_be_asked_is_awss_default_of_the_region_and_says_why():
    found = quotas.read_quotas(account())
    assert (found.requests_per_s, found.connects_per_s, found.concurrency) == (2_500, 500, 10)
    assert not any(found.is_live(name) for name in found.sources)
    assert found.rows[0]["from"] == "AWS's default (apigateway get_account: AccessDeniedException)"


def test_an_answer_without_the_figure_is_no_figure():
    found = quotas.read_quotas(account(requests={}))
    assert found.requests_per_s == 2_500 and found.sources["requests_per_s"].endswith("no answer)")


@pytest.mark.parametrize(("region", "expected"), [("us-east-1", 10_000), ("mx-central-1", 2_500)])
def test_some_regions_take_fewer_requests(region, expected):
    assert quotas.default_requests_per_s(region) == expected


def test_connects_a_second_are_half_of_concurrency_by_duration_and_less_than_api_gateway_takes():
    account = quotas.Quotas(10_000, 500, 10, {})
    assert account.max_connects_per_s(0.05) == 100
    assert account.max_connects_per_s(0.001) == 450
