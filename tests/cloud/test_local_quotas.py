"""The quotas that the local cloud tells, to those who ask as they would ask AWS."""

import pytest
from botocore.exceptions import ClientError

from chatlab.limits import read_quotas


def test_the_local_cloud_tells_an_accounts_quotas(chat):
    found = read_quotas(chat)
    assert (found.requests_per_s, found.connects_per_s, found.concurrency) == (10_000, 500, 1_000)
    assert all(found.is_live(name) for name in found.sources)


def test_a_quota_that_it_does_not_know_is_refused_as_by_service_quotas(chat):
    asked = chat.client("service-quotas")
    assert asked.get_service_quota(ServiceCode="apigateway", QuotaCode="L-8A5B8E43")["Quota"]["Value"] == 10_000
    with pytest.raises(ClientError, match="NoSuchResourceException"):
        asked.get_service_quota(ServiceCode="apigateway", QuotaCode="L-00000000")
