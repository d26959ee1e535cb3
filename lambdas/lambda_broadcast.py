"""The `$default` route, fast: what one connection says is posted to every connection, the speaker first.

It does what `lambda_default` does, for a large room too and at the account's limit: docs/fanout.md. Here the table is
read, a large broadcast is split among invocations, and who has left is deleted; the posts are `fanout`'s.

Environment:
    `TABLE`: the DynamoDB table of connection ids.
    `APIGatewayEndpoint`: the stage's URL without `/@connections`.
    `SHARDS`: into how many invocations a large broadcast is split. 1, the default, splits none.
    `SHARD_ABOVE`: how many connections make a broadcast large, 20,000 by default: a second's work of one invocation.
    `POSTS_PER_SECOND`: what a broadcast may use of the account's quota, all its invocations together. Without it the
        rate is whatever API Gateway takes.
"""

import base64
import gc
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache, partial
from threading import Lock
from typing import Any, NotRequired, TypedDict

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from fanout import Fanout, Outcome

# A connection is in the table a moment before it is open: its item is written inside `$connect`, whose answer opens it.
# A post in between gets 410 too, so 410 removes only items older than the longest `$connect` (the integration
# time-out of 29 s).
CONNECT_GRACE_S = 30

# Items on a page of the scan. The first is small, so that posting begins at once; each is larger than the one before,
# up to the most. That is a quarter of DynamoDB's own 1 MB, since the next one is parsed while this one is posted to.
FIRST_PAGE_ITEMS, PAGE_GROWTH, MAX_PAGE_ITEMS = 100, 4, 2_500

# API Gateway waits 29 s for this function, then shows the speaker an error although the broadcast still runs. So what
# is not read from the table by this time is handed to an asynchronous invocation, which has the function's whole time.
# There is enough left for what has been read. https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html
HAND_OVER_S = 18

RESERVE_S = 2  # of the time that the function has: for deleting who has left, and for the log
MAX_CONCURRENCY = 16  # requests to Lambda or DynamoDB at a time

# CloudWatch makes metrics of these fields of the log line, at no call: the embedded metric format.
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
OUTCOMES = ("connections", "delivered", "gone", "failed", "throttled", "retried", "unreached")
UNITS = dict.fromkeys((*OUTCOMES, "shards"), "Count") | dict.fromkeys(("scan_ms", "post_ms"), "Milliseconds")
NAMESPACE = "chatlab"

CLIENT_CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 4}, connect_timeout=2, read_timeout=5,
    max_pool_connections=MAX_CONCURRENCY,
)  # fmt: skip
dynamodb = boto3.client("dynamodb", config=CLIENT_CONFIG)
clients, clients_lock = cache(partial(boto3.client, config=CLIENT_CONFIG)), Lock()

# What has been imported stays. Otherwise the garbage collector looks through all of it now and then, in the middle of a
# broadcast, for longer than an answer takes.
gc.freeze()

Log = dict[str, Any]
"""The log line: an object of JSON."""


def client(service: str, url: str | None = None) -> Any:  # boto3 makes the classes of its clients at run time
    """A client that few broadcasts need: making it takes longer than reaching a small room. Any thread may ask."""
    with clients_lock:
        return clients(service, endpoint_url=url)


class Shard(TypedDict):
    """A segment of a parallel scan, of `total_segments`; from behind the connection id `start`, if there is one."""

    segment: int
    total_segments: int
    start: NotRequired[str | None]


def handler(event: dict[str, Any], context: Any) -> dict[str, int]:
    """Forward the message exactly as it came. There is no response body: on AWS nobody would get it.

    Args:
        event: API Gateway's for a message; with a `shard`, what `invoke` makes of that.
    """
    log: Log = {"event": "broadcast"}
    status = 200
    try:
        request, body = event["requestContext"], event.get("body") or ""
        log["connection_id"] = str(request["connectionId"])
        log["broadcast"] = str(request.get("messageId") or uuid.uuid4().hex)
        deadline = time.monotonic() + context.get_remaining_time_in_millis() / 1000 - RESERVE_S
        data = base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()
        if data:  # an empty frame says nothing, and PostToConnection refuses an empty payload
            broadcast(data, deadline, event, log)
    except Exception as error:  # an exception let out would be sent to the speaker, as text that nobody said
        log["error"], status = f"{type(error).__name__}: {error}", 500
    metrics = [{"Name": name, "Unit": unit} for name, unit in UNITS.items() if name in log]
    if metrics:
        directive = {"Namespace": NAMESPACE, "Dimensions": [["function"]], "Metrics": metrics}
        log["function"] = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
        log["_aws"] = {"Timestamp": round(time.time() * 1000), "CloudWatchMetrics": [directive]}
    print(json.dumps(log))
    return {"statusCode": status}


def broadcast(data: bytes, deadline: float, event: dict[str, Any], log: Log) -> None:
    """Post `data` to every connection in the table, or to those of the event's shard, and clean up after it.

    Reading and posting overlap: the first page's connections are posted to while the next page is read. `log` gets the
    fields that docs/fanout.md explains, also where an exception ends the broadcast.
    """
    started = time.perf_counter()
    rate, shard = os.environ.get("POSTS_PER_SECOND"), event.get("shard")
    fanout = Fanout(data, deadline, float(rate) if rate else None, shard["total_segments"] if shard else 1)
    outcome = fanout.outcome
    try:
        with fanout:
            if shard:
                log["shard"] = int(shard["segment"])
                for connection_ids, _ in pages(deadline, **shard):
                    fanout.post(others(event, connection_ids))
            else:
                scan_and_post(fanout, event, deadline, log)
            log["scan_ms"] = round((time.perf_counter() - started) * 1000, 1)
    finally:
        log |= {name: getattr(outcome, name) for name in OUTCOMES} | {"post_ms": round(outcome.post_ms, 1)}
        if outcome.error:
            log["error"] = outcome.error
        clean_up(outcome, deadline + RESERVE_S / 2, log)


# --- reading ---------------------------------------------------------------------------------------------------------


def pages(
    deadline: float, segment: int = 0, total_segments: int = 1, start: str | None = None
) -> Iterator[tuple[list[str], str | None]]:
    """A `Shard` of the table, page by page: the connection ids, and the id that the next page starts behind, if any.

    Raises TimeoutError at the deadline.
    """
    parallel = {"Segment": segment, "TotalSegments": total_segments} if total_segments > 1 else {}
    limit = FIRST_PAGE_ITEMS
    while True:
        if time.monotonic() > deadline:
            raise TimeoutError("There was no time to read the whole table.")
        from_here = {"ExclusiveStartKey": {"connection_id": {"S": start}}} if start else {}
        page = dynamodb.scan(
            TableName=os.environ["TABLE"], ProjectionExpression="connection_id", Limit=limit, **parallel, **from_here
        )
        start = page.get("LastEvaluatedKey", {}).get("connection_id", {}).get("S")
        yield [item["connection_id"]["S"] for item in page["Items"]], start
        if not start:
            return
        limit = min(limit * PAGE_GROWTH, MAX_PAGE_ITEMS)


def speaker(event: dict[str, Any]) -> list[str]:
    """The connection that has said it, as a list of ids: empty where the event is not API Gateway's (notebook 03)."""
    request = event["requestContext"]
    return [request["connectionId"]] if request.get("eventType") == "MESSAGE" else []


def others(event: dict[str, Any], connection_ids: list[str]) -> list[str]:
    """Those of the ids that are not the speaker's."""
    first = speaker(event)
    return [connection_id for connection_id in connection_ids if connection_id not in first]


# --- sharing ---------------------------------------------------------------------------------------------------------


def scan_and_post(fanout: Fanout, event: dict[str, Any], deadline: float, log: Log) -> None:
    """Post to each connection in the table; `log` gets `shards` and `handed_over`.

    The speaker comes first: its page takes the echo for the proof that the message is on its way, and repeats it
    without. A large broadcast is split by the segments of a parallel scan. The first segment is read here and shows how
    large the table is: if it holds more than its part of `SHARD_ABOVE`, an invocation is asked for each of the others,
    and each has its share of the rate from then on. Whatever Lambda does not take is read here.
    """
    hand_over_at = time.monotonic() + HAND_OVER_S
    total_segments, threshold = int(os.environ.get("SHARDS", 1)), int(os.environ.get("SHARD_ABOVE", 20_000))
    shards: list[Shard] = [{"segment": number, "total_segments": total_segments} for number in range(total_segments)]
    log |= {"shards": 1, "handed_over": 0}

    def post(shard: Shard) -> Iterator[tuple[int, bool]]:
        """Post to a shard's connections: how many each page has, and whether another invocation takes the rest."""
        for connection_ids, last in pages(deadline, **shard):
            fanout.post(others(event, connection_ids))
            is_late = bool(last) and time.monotonic() > hand_over_at
            is_handed_over = is_late and not invoke([{**shard, "start": last}], event, log["broadcast"])
            yield len(connection_ids), is_handed_over
            if is_handed_over:
                return

    fanout.post(speaker(event))
    (first, *rest), found, is_split = shards, 0, total_segments == 1
    for connections, is_handed_over in post(first):
        found += connections
        log["handed_over"] += is_handed_over
        if not is_split and found * total_segments > threshold:
            rest, is_split = invoke(rest, event, log["broadcast"]), True
            log["shards"] = total_segments - len(rest)
            fanout.share(log["shards"])
    with ThreadPoolExecutor(MAX_CONCURRENCY) as pool:
        log["handed_over"] += sum(pool.map(lambda shard: sum(is_over for _, is_over in post(shard)), rest))


def invoke(shards: list[Shard], event: dict[str, Any], broadcast_id: str) -> list[Shard]:
    """Invoke this function for each of these shards; those that Lambda did not take.

    One level deep: a shard invokes nothing. Lambda runs an asynchronous invocation at least once, and now and then
    twice: docs/fanout.md says what that means.
    """
    request = {name: event["requestContext"].get(name) for name in ("connectionId", "eventType")}
    message = {
        "requestContext": request | {"messageId": broadcast_id},
        "body": event["body"],
        "isBase64Encoded": event.get("isBase64Encoded", False),
    }

    def is_taken(shard: Shard) -> bool:
        with suppress(ClientError, BotoCoreError):
            client("lambda").invoke(
                FunctionName=os.environ["AWS_LAMBDA_FUNCTION_NAME"],
                InvocationType="Event",
                Payload=json.dumps(message | {"shard": shard}),
            )
            return True
        return False

    with ThreadPoolExecutor(MAX_CONCURRENCY) as pool:
        return [shard for shard, taken in zip(shards, pool.map(is_taken, shards), strict=True) if not taken]


# --- cleaning up -----------------------------------------------------------------------------------------------------


def clean_up(outcome: Outcome, deadline: float, log: Log) -> None:
    """Delete who has left, and close who does not read; `log` gets how many were `closed`, and an `error`.

    Whoever is not done with by the deadline is met again by the next broadcast. An error here is none of the message's.
    """
    for_each(delete_if_stale, outcome.gone_ids, deadline, log)
    if outcome.slow_ids:
        log["closed"] = for_each(close, outcome.slow_ids, deadline, log)


def for_each(action: Callable[[str], None], connection_ids: list[str], deadline: float, log: Log) -> int:
    """Call `action` with each id, some at a time, until the deadline; how often it succeeded."""

    def attempt(connection_id: str) -> Exception | None:
        try:
            if time.monotonic() > deadline:
                raise TimeoutError("There was no time left to clean up.")
            action(connection_id)
        except Exception as error:
            return error
        return None

    with ThreadPoolExecutor(MAX_CONCURRENCY) as pool:
        errors = [error for error in pool.map(attempt, connection_ids) if error]
    if errors:
        log.setdefault("error", f"{type(errors[-1]).__name__}: {errors[-1]}")
    return len(connection_ids) - len(errors)


def delete_if_stale(connection_id: str) -> None:
    """Delete the id of a client that left without `$disconnect`, unless it is only just connecting."""
    # BatchWriteItem knows no condition, and a transaction fails as a whole. Of an item that $disconnect has deleted
    # meanwhile, the condition is false as well.
    with suppress(dynamodb.exceptions.ConditionalCheckFailedException):
        dynamodb.delete_item(
            TableName=os.environ["TABLE"],
            Key={"connection_id": {"S": connection_id}},
            ConditionExpression="connected_at < :stale_before",
            ExpressionAttributeValues={":stale_before": {"N": str(int(time.time()) - CONNECT_GRACE_S)}},
        )


def close(connection_id: str) -> None:
    """Close a connection whose client does not read, since each broadcast would try for seconds to reach it.

    API Gateway then runs `$disconnect`, which deletes its id. A page that has only been slow connects again.
    """
    client("apigatewaymanagementapi", os.environ["APIGatewayEndpoint"]).delete_connection(ConnectionId=connection_id)
