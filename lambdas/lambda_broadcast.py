"""The `$default` route, fast: post what one connection says to every connection, the speaker first.

It does what `lambda_default` does, also for a large room and at the account's limit: docs/fanout.md. This module reads
the table, splits a large broadcast among invocations, and deletes connections that are gone; `fanout` posts.

Environment:
    `TABLE`: the DynamoDB table of connection ids.
    `APIGatewayEndpoint`: the stage's URL without `/@connections`.
    `SHARDS`: into how many invocations a large broadcast is split. 1, the default, splits none.
    `SHARD_ABOVE`: how many connections make a broadcast large, 20,000 by default: a second's work of one invocation.
    `POSTS_PER_SECOND`: what all invocations of a broadcast together may use of the account's quota. Without it the
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

# A connection is in the table a moment before it is open: `$connect` writes its item, then the answer of `$connect`
# opens it. A post in between gets 410 too, so a 410 removes only items that are older than the longest `$connect` takes
# (29 s, the integration time-out).
CONNECT_GRACE_S = 30

# Items on a page of the scan. The first page is small, so that posting begins at once; each is larger than the one
# before, up to a quarter of DynamoDB's own 1 MB, since one page is parsed while the one before it is posted to.
FIRST_PAGE_ITEMS, PAGE_GROWTH, MAX_PAGE_ITEMS = 100, 4, 2_500

# After 29 s API Gateway stops waiting for this function and shows the speaker an error, although the broadcast still
# runs. So after 18 s the function hands the part of the table that it has not read to an asynchronous invocation, which
# has the function's whole time. The rest of the 29 s is enough to post to the part that it has read.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html
HAND_OVER_S = 18

RESERVE_S = 2  # of the function's time: for deleting connections that are gone, and for the log
MAX_CONCURRENCY = 16  # requests to Lambda or DynamoDB at a time

# CloudWatch makes metrics of these fields of the log line, without a call: the embedded metric format.
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

# What has been imported stays. Otherwise the garbage collector now and then looks through all of it in the middle of a
# broadcast, which takes longer than an answer.
gc.freeze()

Log = dict[str, Any]
"""The log line: an object of JSON."""


def client(service: str, url: str | None = None) -> Any:  # boto3 makes the classes of its clients at run time
    """A client that few broadcasts need, made when it is needed: that takes longer than reaching a small room.

    Any thread may ask. The lock keeps two threads from making it twice.
    """
    with clients_lock:
        return clients(service, endpoint_url=url)


class Shard(TypedDict):
    """One of the `total_segments` of a parallel scan. It begins after the connection id `start`, if there is one."""

    segment: int
    total_segments: int
    start: NotRequired[str | None]


def handler(event: dict[str, Any], context: Any) -> dict[str, int]:
    """Forward the message exactly as it came. There is no response body: on AWS nobody would get it.

    Args:
        event: API Gateway's event for a message; or the one that `invoke` makes of it, with a `shard`.
    """
    log: Log = {"event": "broadcast", "began_ms": round(1000 * time.time(), 1)}
    status, cpu_started = 200, time.process_time()
    try:
        request, body = event["requestContext"], event.get("body") or ""
        log["connection_id"] = str(request["connectionId"])
        log["broadcast"] = str(request.get("messageId") or uuid.uuid4().hex)
        deadline = time.monotonic() + context.get_remaining_time_in_millis() / 1000 - RESERVE_S
        data = base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()
        if data:  # an empty frame says nothing, and PostToConnection refuses an empty payload
            broadcast(data, deadline, event, log)
    except Exception as error:  # API Gateway would send an exception's text to the speaker
        log["error"], status = f"{type(error).__name__}: {error}", 500
    log["cpu_ms"] = round(1000 * (time.process_time() - cpu_started), 1)
    metrics = [{"Name": name, "Unit": unit} for name, unit in UNITS.items() if name in log]
    if metrics:
        directive = {"Namespace": NAMESPACE, "Dimensions": [["function"]], "Metrics": metrics}
        log["function"] = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
        log["_aws"] = {"Timestamp": round(time.time() * 1000), "CloudWatchMetrics": [directive]}
    print(json.dumps(log))
    return {"statusCode": status}


def broadcast(data: bytes, deadline: float, event: dict[str, Any], log: Log) -> None:
    """Post `data` to every connection in the table, or to those of the event's shard, and clean up after it.

    Reading and posting overlap: while the function reads a page, the fan-out posts to the one before. `log` gets the
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
        log["first_post_ms"] = round(1000 * (time.perf_counter() - started) - outcome.post_ms, 1)
        if outcome.error:
            log["error"] = outcome.error
        clean_up(outcome, deadline + RESERVE_S / 2, log)


# --- reading ---------------------------------------------------------------------------------------------------------


def pages(
    deadline: float, segment: int = 0, total_segments: int = 1, start: str | None = None
) -> Iterator[tuple[list[str], str | None]]:
    """A `Shard` of the table, page by page: the connection ids, and the id after which the next page begins, if any.

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
    """The speaker's connection id, in a list; the list is empty if the event is not API Gateway's (notebook 03)."""
    request = event["requestContext"]
    return [request["connectionId"]] if request.get("eventType") == "MESSAGE" else []


def others(event: dict[str, Any], connection_ids: list[str]) -> list[str]:
    """The ids without the speaker's."""
    first = speaker(event)
    return [connection_id for connection_id in connection_ids if connection_id not in first]


# --- sharing ---------------------------------------------------------------------------------------------------------


def scan_and_post(fanout: Fanout, event: dict[str, Any], deadline: float, log: Log) -> None:
    """Post to each connection in the table; `log` gets `shards` and `handed_over`.

    The speaker comes first: its page takes the echo as proof that the message is on its way, and sends the message
    again if no echo comes. A large broadcast is split by the segments of a parallel scan. This invocation reads the
    first segment, which shows how large the table is: if it holds more than its part of `SHARD_ABOVE`, Lambda is asked
    for an invocation for each of the others, and from then on all of them share the rate. This invocation also reads
    what Lambda does not take.
    """
    hand_over_at = time.monotonic() + HAND_OVER_S
    total_segments, threshold = int(os.environ.get("SHARDS", 1)), int(os.environ.get("SHARD_ABOVE", 20_000))
    shards: list[Shard] = [{"segment": number, "total_segments": total_segments} for number in range(total_segments)]
    log |= {"shards": 1, "handed_over": 0}

    def post(shard: Shard) -> Iterator[tuple[int, bool]]:
        """Post to a shard's connections. Yields each page's length, and whether another invocation takes the rest."""
        for connection_ids, last in pages(deadline, **shard):
            fanout.post(others(event, connection_ids))
            is_late = bool(last) and time.monotonic() > hand_over_at
            is_handed_over = is_late and not invoke([{**shard, "start": last}], event, log["broadcast"])
            yield len(connection_ids), is_handed_over
            if is_handed_over:
                return

    fanout.post(speaker(event))
    first, *rest = shards
    found, may_split = 0, total_segments > 1
    for connections, is_handed_over in post(first):
        found += connections
        log["handed_over"] += is_handed_over
        if may_split and found * total_segments > threshold:
            rest, may_split = invoke(rest, event, log["broadcast"]), False
            log["shards"] = total_segments - len(rest)
            fanout.set_invocations(log["shards"])
    with ThreadPoolExecutor(MAX_CONCURRENCY) as pool:
        log["handed_over"] += sum(pool.map(lambda shard: sum(is_over for _, is_over in post(shard)), rest))


def invoke(shards: list[Shard], event: dict[str, Any], broadcast_id: str) -> list[Shard]:
    """Invoke this function for each of these shards. Returns the ones that Lambda did not take.

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
    """Delete the connections that are gone, and close those whose client does not read.

    `log` gets how many were `closed`, and an `error`. The next broadcast meets again what is left at the deadline. An
    error here is no failure of the message, and does not change the status that the function answers.
    """
    for_each(delete_if_stale, outcome.gone_ids, deadline, log)
    if outcome.slow_ids:
        log["closed"] = for_each(close, outcome.slow_ids, deadline, log)


def for_each(action: Callable[[str], None], connection_ids: list[str], deadline: float, log: Log) -> int:
    """Call `action` with each id, several at a time, until the deadline. Returns how often it succeeded."""

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
    # BatchWriteItem knows no condition, and a transaction fails as a whole. The condition is also false if $disconnect
    # has deleted the item meanwhile.
    with suppress(dynamodb.exceptions.ConditionalCheckFailedException):
        dynamodb.delete_item(
            TableName=os.environ["TABLE"],
            Key={"connection_id": {"S": connection_id}},
            ConditionExpression="connected_at < :stale_before",
            ExpressionAttributeValues={":stale_before": {"N": str(int(time.time()) - CONNECT_GRACE_S)}},
        )


def close(connection_id: str) -> None:
    """Close a connection whose client does not read, since each broadcast would try for seconds to reach it.

    API Gateway then runs `$disconnect`, which deletes its id. A page that was only slow connects again.
    """
    client("apigatewaymanagementapi", os.environ["APIGatewayEndpoint"]).delete_connection(ConnectionId=connection_id)
