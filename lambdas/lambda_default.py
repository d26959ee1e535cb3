"""The `$default` route: the broadcast. What one connection says is posted to every connection, the sender too.

Environment:
    `TABLE`: the DynamoDB table of connection ids.
    `APIGatewayEndpoint`: the stage's URL without `/@connections`.
    `SHARDS`: into how many invocations a large broadcast is split. 1, the default, splits none.
    `SHARD_ABOVE`: how many connections make a broadcast large, 20,000 by default: a second's work of one invocation.
    `POSTS_PER_SECOND`: what a broadcast may use of the account's quota, all its invocations together. Without it the
        rate is whatever API Gateway takes.
"""

import gc
import json
import os
import time
import uuid
from collections.abc import Container, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from events import Context, Event, Shard, message_bytes, speaker
from fanout import Fanout
from metrics import embedded_metrics

# A connection is in the table a moment before it is open: its item is written inside `$connect`, whose answer opens it.
# A post in between gets 410 too, so 410 removes only items older than the longest `$connect` (the integration
# time-out of 29 s).
CONNECT_GRACE_S = 30

# Items on a page of the scan. The first is small, so that posting begins at once; each is larger than the one before,
# up to the most. That is a quarter of DynamoDB's own 1 MB, since the next one is parsed while this one is posted to.
FIRST_PAGE_ITEMS, PAGE_GROWTH, MAX_PAGE_ITEMS = 100, 4, 2_500

# API Gateway waits 29 s for this function, and then tells the speaker of an error while the function goes on. What is
# not read from the table by this time is handed to an asynchronous invocation, which has the function's whole time;
# there is enough left for what has been read. https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html
HAND_OVER_S = 18

# Of the time that the function has, this much is kept for deleting who has left, and for the log.
RESERVE_S = 2

# Requests to Lambda or DynamoDB at a time.
MAX_CONCURRENCY = 16

CLIENT_CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 4}, connect_timeout=2, read_timeout=5,
    max_pool_connections=MAX_CONCURRENCY,
)  # fmt: skip
dynamodb = boto3.client("dynamodb", config=CLIENT_CONFIG)

# What has been imported stays. Otherwise the garbage collector looks through all of it now and then, in the middle of a
# broadcast, for longer than an answer takes.
gc.freeze()


@lru_cache(maxsize=1)
def lambda_client() -> Any:  # boto3 makes the classes of its clients at run time
    """The client of Lambda: most broadcasts need none, and it takes longer to make than a small room takes to reach."""
    return boto3.client("lambda", config=CLIENT_CONFIG)


@lru_cache(maxsize=1)
def management_api() -> Any:
    """The client of `@connections`, for what is no post: it is seldom needed."""
    return boto3.client("apigatewaymanagementapi", endpoint_url=os.environ["APIGatewayEndpoint"], config=CLIENT_CONFIG)


Log = dict[str, Any]
"""The log line: an object of JSON."""


def handler(event: Event, context: Context) -> dict[str, int]:
    """Forward the message exactly as it came. There is no response body: on AWS nobody would get it."""
    log: Log = {"event": "broadcast"}
    try:
        request = event["requestContext"]
        log["connection_id"] = str(request["connectionId"])
        log["broadcast"] = str(request.get("messageId") or uuid.uuid4().hex)
        deadline = time.monotonic() + context.get_remaining_time_in_millis() / 1000 - RESERVE_S
        # An empty frame says nothing, and PostToConnection refuses an empty payload.
        if data := message_bytes(event):
            broadcast(data, deadline, event, log)
        status = 200
    except Exception as error:  # an exception let out would be sent to the sender, as text that nobody said
        log["error"] = f"{type(error).__name__}: {error}"
        status = 500
    print(json.dumps(log | embedded_metrics(log)))
    return {"statusCode": status}


def broadcast(data: bytes, deadline: float, event: Event, log: Log) -> None:
    """Post `data` to every connection in the table, or to this shard's part of them.

    Reading and posting overlap: the first page's connections are posted to while the next page is read. The speaker
    comes first: its page takes the echo for the proof that the message is on its way, and repeats it without.

    Adds to `log` the counts of `outcomes.Outcomes`; `shards`, how many invocations share the broadcast, or in one
    that was asked for by another `shard`, its segment; `handed_over`, of how many segments another invocation has taken
    the rest; `closed`, how many clients were closed that do not read, if there were any; `scan_ms` and `post_ms`; and
    `error`, the last failure's text, if there was one.
    """
    started = time.perf_counter()
    rate, shard = os.environ.get("POSTS_PER_SECOND"), event.get("shard")
    fanout = Fanout(data, deadline, float(rate) if rate else None, shard["total_segments"] if shard else 1)
    outcomes = fanout.outcomes
    try:
        with fanout:
            if shard:
                log["shard"] = int(shard["segment"])
                for connection_ids, _ in pages(deadline, **shard):
                    fanout.post(without(connection_ids, speaker(event)))
            else:
                scan_and_post(fanout, event, deadline, log)
            log["scan_ms"] = round((time.perf_counter() - started) * 1000, 1)
    finally:
        log.update(outcomes.counts, post_ms=round(fanout.post_ms, 1))
        if outcomes.error:
            log["error"] = outcomes.error
    delete_stale(outcomes.gone, deadline + RESERVE_S / 2)
    if outcomes.slow_consumers:
        log["closed"] = close_connections(outcomes.slow_consumers, deadline + RESERVE_S / 2)


def without(connection_ids: list[str], excluded: Container[str]) -> list[str]:
    """Those of the ids that are not excluded."""
    return [connection_id for connection_id in connection_ids if connection_id not in excluded]


def scan_and_post(fanout: Fanout, event: Event, deadline: float, log: Log) -> None:
    """Read the table, and post to each connection in it. Adds `shards` and `handed_over` to `log`.

    A large broadcast is split by the segments of a parallel scan. The first segment is read here, and shows how large
    the table is: if it holds more than its part of `SHARD_ABOVE`, an invocation is asked for each of the others, and
    each has its share of the rate from then on. Whatever Lambda does not take is read here.
    """
    hand_over_at = time.monotonic() + HAND_OVER_S
    total_segments = int(os.environ.get("SHARDS", 1))
    threshold = int(os.environ.get("SHARD_ABOVE", 20_000))
    first = speaker(event)
    log |= {"shards": 1, "handed_over": 0}

    def read(segment: int) -> Iterator[int]:
        """Post to a segment's connections, and yield how many there were on each page."""
        ahead = first if segment == 0 else []
        for connection_ids, last in pages(deadline, segment, total_segments):
            fanout.post(ahead + without(connection_ids, first))
            ahead = []
            yield len(connection_ids)
            rest: Shard = {"segment": segment, "total_segments": total_segments, "start": last}
            if last and time.monotonic() > hand_over_at and not invoke_shards([rest], event, log):
                log["handed_over"] += 1
                return

    local_segments, found, is_split = list(range(1, total_segments)), 0, total_segments == 1
    for connections in read(0):
        found += connections
        if not is_split and found * total_segments > threshold:
            others: list[Shard] = [{"segment": number, "total_segments": total_segments} for number in local_segments]
            refused = invoke_shards(others, event, log)
            local_segments, is_split = [shard["segment"] for shard in refused], True
            log["shards"] = total_segments - len(refused)
            fanout.share(total_segments - len(refused))
    with ThreadPoolExecutor(MAX_CONCURRENCY) as pool:
        list(pool.map(lambda segment: sum(read(segment)), local_segments))


def invoke_shards(shards: list[Shard], event: Event, log: Log) -> list[Shard]:
    """Invoke this function for each of these shards; those that Lambda did not take.

    One level deep: a shard invokes nothing. Lambda runs an asynchronous invocation at least once, and now and then
    twice: docs/fanout.md says what that means.
    """
    request = {name: event["requestContext"].get(name) for name in ("connectionId", "eventType")}
    message = {
        "requestContext": request | {"messageId": log["broadcast"]},
        "body": event["body"],
        "isBase64Encoded": event.get("isBase64Encoded", False),
    }

    def is_taken(shard: Shard) -> bool:
        try:
            lambda_client().invoke(
                FunctionName=os.environ["AWS_LAMBDA_FUNCTION_NAME"],
                InvocationType="Event",
                Payload=json.dumps(message | {"shard": shard}),
            )
        except (ClientError, BotoCoreError):
            return False
        return True

    with ThreadPoolExecutor(MAX_CONCURRENCY) as pool:
        return [shard for shard, taken in zip(shards, pool.map(is_taken, shards), strict=True) if not taken]


def pages(
    deadline: float, segment: int = 0, total_segments: int = 1, start: str | None = None
) -> Iterator[tuple[list[str], str | None]]:
    """A `Shard` of the table, page by page: the connection ids, and the id that the next page starts behind.

    Behind the last page there is None. Raises TimeoutError at the deadline.
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


def delete_stale(connection_ids: list[str], deadline: float) -> None:
    """Delete the ids of clients that left without `$disconnect`, unless they are only just connecting.

    Those that are not deleted by the deadline are met again by the next broadcast.
    """
    # BatchWriteItem knows no condition, and a transaction fails as a whole.
    request = {
        "TableName": os.environ["TABLE"],
        "ConditionExpression": "connected_at < :stale_before",
        "ExpressionAttributeValues": {":stale_before": {"N": str(int(time.time()) - CONNECT_GRACE_S)}},
    }

    def delete(connection_id: str) -> None:
        # Of an item that $disconnect has deleted meanwhile, the condition is false as well.
        with suppress(dynamodb.exceptions.ConditionalCheckFailedException):
            if time.monotonic() < deadline:
                dynamodb.delete_item(Key={"connection_id": {"S": connection_id}}, **request)

    with ThreadPoolExecutor(MAX_CONCURRENCY) as pool:
        list(pool.map(delete, connection_ids))


def close_connections(connection_ids: list[str], deadline: float) -> int:
    """Close the connections of slow consumers: each broadcast would try for seconds to reach them. API Gateway then
    runs `$disconnect`, which deletes their ids, and a page that has only been slow connects again.

    How many could be closed. Those that were not by the deadline are met again by the next broadcast.
    """

    def close(connection_id: str) -> bool:
        with suppress(ClientError, BotoCoreError):
            if time.monotonic() < deadline:
                management_api().delete_connection(ConnectionId=connection_id)
                return True
        return False

    with ThreadPoolExecutor(MAX_CONCURRENCY) as pool:
        return sum(pool.map(close, connection_ids))
