"""The traits of AWS around an application that answers everything at once."""

import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from chatlab.emulator import token_bucket
from chatlab.emulator.traits import eventual_consistency
from tests.support.asynchronous import run_async

PERSON, ROLE = "AKIAIOSFODNN7EXAMPLE", "ASIAIOSFODNN7EXAMPLE"  # AWS's own examples


async def cloud(scope, receive, send):
    """Answers everything, and says how often it was asked."""
    cloud.asked += 1
    status = 204 if scope["method"] == "DELETE" else 200
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": b"" if status == 204 else b'{"asked": %d}' % cloud.asked})


@pytest.fixture
def clock(monkeypatch):
    """The time, turned by hand: `clock.now += 5`; and `cloud` has not been asked anything yet."""

    class Clock:
        now = 1_000.0

        @staticmethod
        def monotonic():
            return Clock.now

    cloud.asked = 0
    for module in (eventual_consistency, token_bucket):
        monkeypatch.setattr(module, "time", Clock)
    return Clock


def ask(app, service, method, url, body=b"", key=PERSON, **headers):
    """One signed request; the answer."""
    request = AWSRequest(method, url, data=body, headers={name.replace("_", "-"): v for name, v in headers.items()})
    SigV4Auth(Credentials(key, "none"), service, "eu-central-1").add_auth(request)

    async def send():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
            return await client.request(method, url, content=body, headers=dict(request.headers.items()))

    return run_async(send())


LAMBDA = "https://lambda.eu-central-1.amazonaws.com/2015-03-31/functions"
APIS = "https://apigateway.eu-central-1.amazonaws.com/v2/apis"
POST = "https://abc.execute-api.eu-central-1.amazonaws.com/production/@connections/one%3D"
FORM = {"content_type": "application/x-www-form-urlencoded"}


def iam(app, **parameters):
    return ask(
        app, "iam", "POST", "https://iam.amazonaws.com/", httpx.QueryParams(parameters).__str__().encode(), **FORM
    )
