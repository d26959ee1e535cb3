"""What API Gateway makes of a function that refuses, raises or takes too long."""

import io
import json
import time
import zipfile

import pytest
import websocket

from chatlab.lab import STAGE

CODE = """
import time

def handler(event, context):
    if event["requestContext"]["routeKey"] == "$default":
        time.sleep(float(event["body"]))
    status = (event.get("queryStringParameters") or {}).get("status", "200")
    return {"statusCode": int(status)}  # raises if it is no number
"""
TIMEOUT_MS = 500


@pytest.fixture
def url(chat):
    """An API whose one function is the code above, and does not wait longer than `TIMEOUT_MS` for it."""
    functions, gateway, packed = chat.client("lambda"), chat.client("apigatewayv2"), io.BytesIO()
    with zipfile.ZipFile(packed, "w") as package:
        package.writestr("answers.py", CODE)
    role = chat.client("iam").get_role(RoleName=chat.role)["Role"]["Arn"]
    made = {"Runtime": "python3.13", "Handler": "answers.handler", "Role": role, "Code": {"ZipFile": packed.getvalue()}}
    arn = functions.create_function(FunctionName="answers", **made)["FunctionArn"]
    functions.add_permission(
        FunctionName="answers", StatementId="a", Action="lambda:InvokeFunction", Principal="apigateway.amazonaws.com"
    )
    expression = "$request.body.action"
    api = gateway.create_api(Name="answers", ProtocolType="WEBSOCKET", RouteSelectionExpression=expression)["ApiId"]
    uri = f"arn:aws:apigateway:{chat.region}:lambda:path/2015-03-31/functions/{arn}/invocations"
    how = {"IntegrationType": "AWS_PROXY", "IntegrationMethod": "POST", "TimeoutInMillis": TIMEOUT_MS}
    integration = gateway.create_integration(ApiId=api, IntegrationUri=uri, **how)["IntegrationId"]
    for route in ("$connect", "$default"):
        gateway.create_route(ApiId=api, RouteKey=route, Target=f"integrations/{integration}")
    gateway.create_stage(ApiId=api, StageName=STAGE)
    functions.invoke(FunctionName="answers", Payload=b'{"requestContext": {"routeKey": "$connect"}}')  # it has started
    yield chat.websocket_url(api)
    gateway.delete_api(ApiId=api)
    functions.delete_function(FunctionName="answers")


@pytest.mark.parametrize(("returned", "answered"), [("401", 401), ("503", 503), ("no number", 502)])
def test_a_handshake_is_refused_with_the_functions_own_status(url, returned, answered):
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        websocket.create_connection(f"{url}?status={returned.replace(' ', '%20')}", timeout=10)
    assert refused.value.status_code == answered


def test_nobody_waits_longer_for_a_function_than_its_integration_says(url):
    ada = websocket.create_connection(url, timeout=10)
    ada.send("0")
    begun = time.monotonic()
    ada.send("3")
    frame = json.loads(ada.recv())
    assert TIMEOUT_MS / 1000 <= time.monotonic() - begun < 2
    assert frame["message"] == "Endpoint request timed out" and frame.keys() == {"message", "connectionId", "requestId"}
    ada.close()
