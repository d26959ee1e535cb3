"""Requests to the local cloud, signed as boto3 signs them, or sent as they are written."""

import http.client
from contextlib import closing

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from chatlab import local_cloud


def signed(address, service, method, path, headers, body, credentials=None):
    """The headers with a signature in which nothing is wrong."""
    request = AWSRequest(method, f"http://{address[0]}:{address[1]}{path}", dict(headers), body.encode())
    credentials = credentials or local_cloud.credentials()
    SigV4Auth(Credentials(*credentials.values()), service, "us-east-1").add_auth(request)
    return dict(request.headers)


def ask(address, method, path, headers=(), body=""):
    """The answer's status, headers and text."""
    with closing(http.client.HTTPConnection(*address, timeout=10)) as connection:
        connection.request(method, path, body.encode(), dict(headers))
        answer = connection.getresponse()
        return answer.status, dict(answer.headers), answer.read().decode()
