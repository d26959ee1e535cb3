"""AppSync Events, where MiniStack leaves something out, or does it otherwise.

On AWS each API has two host names. No resolver knows such names below 127.0.0.1, so on the local cloud the two are
paths, which the `dns` of an API names as it would the hosts: see `chatlab.local_cloud.MINISTACK_SETTINGS`.
"""

import re
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from ministack.core.responses import new_uuid
from ministack.services import appsync_events, tagging

from chatlab.emulator.calls import App, Receive, Scope, Send
from chatlab.emulator.traits import TokenBucket

ADDRESS = re.compile(
    r"/_aws/(?P<host>appsync-(?P<realtime>realtime-)?api)/(?P<api_id>[a-z0-9]+)(?P<path>/event(?(realtime)/realtime))"
)
MANY = 1e12  # where there is no limit
DELIVERIES_PER_EVENT = 100
"""An API delivers so many times as many messages a second, by default, as it takes events."""
RATE_LIMIT_EXCEEDED = "Rate limit exceeded"

# MiniStack's own functions, which those below call.
_fanout_publish = appsync_events._fanout_publish
_handle_client_frame = appsync_events._handle_client_frame


def correct() -> None:
    """From now on, in this process, MiniStack does as AppSync Events does."""
    appsync_events._modes_accept = modes_accept
    for collectors in (tagging._COLLECTORS, tagging._RESOURCE_TAG_COLLECTORS):  # the list of tags; `aws:ResourceTag`
        collectors["appsync"] = _tags  # MiniStack knows the tags of GraphQL APIs alone


def with_addresses(app: App) -> App:
    """The application, which takes the paths of the local cloud for the host names that MiniStack looks for."""

    async def by_host(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan" and (found := ADDRESS.fullmatch(scope["path"])):
            headers = [(name, value) for name, value in scope["headers"] if name != b"host"]
            headers.append((b"host", f"{found['api_id']}.{found['host']}.local".encode()))
            scope = {**scope, "path": found["path"], "raw_path": found["path"].encode(), "headers": headers}
        await app(scope, receive, send)

    return by_host


def is_authorized(api_id: str, authorization: dict[str, str] | None) -> bool:
    """Whether it has an API key that this API has issued, and that has not expired."""
    key = {name.lower(): value for name, value in (authorization or {}).items()}.get("x-api-key")
    return any(
        issued["expires"] > time.time()
        for (_, _, owner), keys in appsync_events._api_keys.all_items()
        for name, issued in keys.items()
        if (owner, name) == (api_id, key)
    )


def modes_accept(api_id: str, modes: set[str], authorization: dict[str, str] | None) -> tuple[bool, str | None]:
    """MiniStack's, for API keys alone, which may not have expired: it takes each signature and token as it is sent."""
    accepted = "API_KEY" in modes and is_authorized(api_id, authorization)
    return accepted, None if accepted else "You are not authorized to make this call."


def _tags() -> Iterator[tuple[str, list[dict[str, str]]]]:
    for api_id, api in appsync_events._apis.items():
        yield api["apiArn"], [{"Key": key, "Value": value} for key, value in (api["tags"] or {}).items()]
        for name, namespace in appsync_events._channel_namespaces.get(api_id, {}).items():
            tags = [{"Key": key, "Value": value} for key, value in (namespace["tags"] or {}).items()]
            yield appsync_events._channel_namespace_arn(api_id, name), tags


def enforce_quotas(event_kb: float | None, events_per_s: float | None, publishes_per_s: float | None) -> None:
    """From now on, in this process, AppSync Events has limits; None is for one that it does not have.

    That a rate is a token bucket of a second's worth is assumed, and so is what a publisher is told of a rate.

    Args:
        event_kb: what is larger is delivered to nobody, and its publisher hears that all went well:
            https://github.com/aws-powertools/powertools-lambda-typescript/pull/5339
        events_per_s: of an API, from all publishers; `DELIVERIES_PER_EVENT` times as many are delivered:
            https://docs.aws.amazon.com/general/latest/gr/appsync.html
        publishes_per_s: of one connection; the same page.
    """
    max_bytes, in_per_s, of_one = 1024 * (event_kb or MANY), events_per_s or MANY, publishes_per_s or MANY
    out_per_s = DELIVERIES_PER_EVENT * in_per_s
    buckets = defaultdict[str, tuple[TokenBucket, TokenBucket]](
        lambda: (TokenBucket(in_per_s, in_per_s), TokenBucket(out_per_s, out_per_s))
    )

    async def fanout_publish(api_id: str, channel: str, events: list[Any]) -> tuple[list[Any], list[Any]]:
        outcomes: tuple[list[Any], list[Any]] = ([], [])  # of what succeeds, and of what fails
        inbound, outbound = buckets[api_id]
        receivers = sum(
            appsync_events._channel_matches(channel, pattern)
            for connection in appsync_events._connections.values()
            if connection["api_id"] == api_id
            for pattern in connection["subscriptions"].values()
        )
        for index, event in enumerate(events):
            own: tuple[list[Any], list[Any]] = ([{"identifier": new_uuid()}], [])
            if not inbound.take():
                own = [], [{"identifier": new_uuid(), "code": 429, "errorMessage": RATE_LIMIT_EXCEEDED}]
            elif len(str(event).encode()) <= max_bytes and outbound.take(receivers):
                own = await _fanout_publish(api_id, channel, [event])
            for of_all, of_this in zip(outcomes, own, strict=True):
                of_all += [each | {"index": index} for each in of_this]
        return outcomes

    async def handle_client_frame(api_id: str, connection_id: str, frame: dict[str, Any], outbox: Any) -> None:
        connection = appsync_events._connections[connection_id]  # it takes the bucket along when it ends
        bucket = connection.setdefault("publishes", TokenBucket(of_one, of_one))
        if frame.get("type") == "publish" and not bucket.take():
            errors = [{"errorType": "LimitExceededError", "message": RATE_LIMIT_EXCEEDED}]
            await outbox.put({"type": "publish_error", "id": frame.get("id"), "errors": errors})
        else:
            await _handle_client_frame(api_id, connection_id, frame, outbox)

    appsync_events._fanout_publish = fanout_publish
    appsync_events._handle_client_frame = handle_client_frame
