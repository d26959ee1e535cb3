"""A stage's own limits, as the rehearsal enforces them: each route has its own, or the stage's default."""

import json
import time

import pytest
import websocket

from chatlab.lab import STAGE
from tests.support.labs import lab_in


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """An API that answers by itself, and takes 2 messages at once and 5 handshakes; then one in ten seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHATLAB_TRAITS", "stage-limits")
        with lab_in(tmp_path_factory.mktemp("limits") / "home") as lab:
            gateway = lab.client("apigatewayv2")
            api = gateway.create_api(
                Name="limits", ProtocolType="WEBSOCKET", RouteSelectionExpression="$request.body.action"
            )["ApiId"]
            mock = gateway.create_integration(ApiId=api, IntegrationType="MOCK")["IntegrationId"]
            for route in ("$connect", "$default"):
                gateway.create_route(ApiId=api, RouteKey=route, Target=f"integrations/{mock}")
            gateway.create_stage(
                ApiId=api,
                StageName=STAGE,
                DefaultRouteSettings={"ThrottlingRateLimit": 0.1, "ThrottlingBurstLimit": 5},
                RouteSettings={"$default": {"ThrottlingRateLimit": 0.1, "ThrottlingBurstLimit": 2}},
            )
            yield lab.websocket_url(api)


def test_each_route_takes_what_is_set_for_it_and_no_more(url):
    sockets = [websocket.create_connection(url, timeout=10) for _ in range(5)]
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        websocket.create_connection(url, timeout=10)
    assert refused.value.status_code == 429
    for socket in sockets[:3]:  # the limit is the route's, whoever speaks
        socket.send("hello")
        time.sleep(0.1)
    frame = json.loads(sockets[2].recv())
    assert frame["message"] == "Too Many Requests" and frame.keys() == {"message", "connectionId", "requestId"}
    sockets[0].settimeout(0.2)
    with pytest.raises(websocket.WebSocketTimeoutException):
        sockets[0].recv()
    for socket in sockets:
        socket.close()
