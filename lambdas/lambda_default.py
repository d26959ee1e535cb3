"""The `$default` route: the broadcast. What one connection says is posted to every connection, the sender too.

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
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache

import boto3
import fanout
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

# A connection is in the table a moment before it is open: its item is written inside `$connect`, whose answer opens it.
# A post in between gets 410 too, so 410 removes only items older than the longest `$connect` (the integration
# time-out of 29 s).
SETTLED_S = 30

# Items on a page of the scan. The first is small, so that posting begins at once; each is larger than the one before,
# up to the most. That is a quarter of DynamoDB's own 1 MB, since the next one is parsed while this one is posted to.
FIRST_PAGE, GROWTH, LARGEST_PAGE = 100, 4, 2_500

# API Gateway waits 29 s for this function, and then tells the speaker of an error while the function goes on. What is
# not read from the table by this time is handed to an asynchronous invocation, which has the function's whole time;
# there is enough left for what has been read. https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html
HAND_OVER_S = 18

# Of the time that the function has, this much is kept for forgetting who has left, and for the log.
RESERVE_S = 2

# Requests to Lambda or DynamoDB at a time.
PARALLEL = 16

# What the log line tells CloudWatch to make metrics of.
UNITS = dict.fromkeys(
    ("connections", "delivered", "gone", "failed", "throttled", "retried", "unreached", "shards"), "Count"
) | dict.fromkeys(("scan_ms", "post_ms"), "Milliseconds")

PATIENCE = Config(
    retries={"mode": "standard", "total_max_attempts": 4}, connect_timeout=2, read_timeout=5,
    max_pool_connections=PARALLEL,
)  # fmt: skip
dynamodb = boto3.client("dynamodb", config=PATIENCE)

# What has been imported stays. Otherwise the garbage collector looks through all of it now and then, in the middle of a
# broadcast, for longer than an answer takes.
gc.freeze()


@lru_cache(maxsize=1)
def functions():
    """The client of Lambda: most broadcasts need none, and it takes longer to make than a small room takes to reach."""
    return boto3.client("lambda", config=PATIENCE)


@lru_cache(maxsize=1)
def connections():
    """The client of `@connections`, for what is no post: it is seldom needed."""
    return boto3.client("apigatewaymanagementapi", endpoint_url=os.environ["APIGatewayEndpoint"], config=PATIENCE)


def handler(event, context):
    """Forward the message exactly as it came. There is no response body: on AWS nobody would get it."""
    log = {"event": "broadcast"}
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
    print(json.dumps(log | metrics(log)))
    return {"statusCode": status}


def message_bytes(event):
    """The message as bytes: text as UTF-8, a binary frame as API Gateway hands it over, in Base64."""
    body = event.get("body") or ""
    return base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()


def broadcast(data, deadline, event, log):
    """Post `data` (bytes) to every connection in the table, or to this shard's part of them.

    Reading and posting overlap: the first page's connections are posted to while the next page is read. The speaker
    comes first: its page takes the echo for the proof that the message is on its way, and repeats it without.

    Adds to the dict `log` the counts of `fanout.Fanout`; `shards`, how many invocations share the broadcast, or in one
    that was asked for by another `shard`, its segment; `handed_over`, of how many segments another invocation has taken
    the rest; `closed`, how many clients were closed that do not read, if there were any; `scan_ms` and `post_ms`; and
    `error`, the last failure's text, if there was one.
    """
    started = time.perf_counter()
    known = os.environ.get("POSTS_PER_SECOND")
    shard = event.get("shard")
    posts = fanout.Fanout(data, deadline, known and float(known), shard["of"] if shard else 1)
    try:
        with posts:
            if shard:
                log["shard"] = int(shard["segment"])
                for connection_ids, _ in pages(deadline, **shard):
                    posts.post(without(connection_ids, speaker(event)))
            else:
                read_all(posts, event, deadline, log)
            log["scan_ms"] = round((time.perf_counter() - started) * 1000, 1)
    finally:
        log.update(posts.counts, post_ms=round(posts.post_ms, 1), **({"error": posts.error} if posts.error else {}))
    forget(posts.gone, deadline + RESERVE_S / 2)
    if posts.slow:
        log["closed"] = close(posts.slow, deadline + RESERVE_S / 2)


def speaker(event):
    """Who has said it, as a list: nobody where the event is none of API Gateway's, as in notebook 03."""
    request = event["requestContext"]
    return [request["connectionId"]] if request.get("eventType") == "MESSAGE" else []


def without(connection_ids, some):
    """Those of the ids that are not among some."""
    return [connection_id for connection_id in connection_ids if connection_id not in some]


def read_all(posts, event, deadline, log):
    """Read the table, and post to whom it names. Adds `shards` and `handed_over` to `log`.

    A large broadcast is split by the segments of a parallel scan. The first segment is read here, and tells how large
    the table is: if it holds more than its part of `SHARD_ABOVE`, an invocation is asked for each of the others, and
    each has its share of the rate from then on. Whatever Lambda does not take is read here.
    """
    hand_over_at = time.monotonic() + HAND_OVER_S
    of = int(os.environ.get("SHARDS", 1))
    threshold = int(os.environ.get("SHARD_ABOVE", 20_000))
    first = speaker(event)
    log |= {"shards": 1, "handed_over": 0}

    def read(segment):
        """Post to a segment's connections, and yield how many there were on each page."""
        ahead = first if segment == 0 else []
        for connection_ids, last in pages(deadline, segment, of):
            posts.post(ahead + without(connection_ids, first))
            ahead = []
            yield len(connection_ids)
            rest = {"segment": segment, "of": of, "start": last}
            if last and time.monotonic() > hand_over_at and not ask_for([rest], event, log):
                log["handed_over"] += 1
                return

    mine, found, is_split = range(1, of), 0, of == 1
    for number in read(0):
        found += number
        if not is_split and found * of > threshold:
            refused = ask_for([{"segment": segment, "of": of} for segment in range(1, of)], event, log)
            mine, is_split = [part["segment"] for part in refused], True
            log["shards"] = of - len(mine)
            posts.share(of - len(mine))
    with ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(lambda segment: sum(read(segment)), mine))


def ask_for(parts, event, log):
    """Invoke this function for each of these parts of the table; those that Lambda would not take, as a list.

    One level deep: what was asked for asks for nothing. Lambda runs an asynchronous invocation at least once, and now
    and then twice: docs/fanout.md says what that means.
    """
    request = {name: event["requestContext"].get(name) for name in ("connectionId", "eventType")}
    message = {
        "requestContext": request | {"messageId": log["broadcast"]},
        "body": event["body"],
        "isBase64Encoded": event.get("isBase64Encoded", False),
    }

    def refused(part):
        try:
            functions().invoke(
                FunctionName=os.environ["AWS_LAMBDA_FUNCTION_NAME"],
                InvocationType="Event",
                Payload=json.dumps(message | {"shard": part}),
            )
        except (ClientError, BotoCoreError):
            return True

    with ThreadPoolExecutor(PARALLEL) as pool:
        return [part for part, no in zip(parts, pool.map(refused, parts), strict=True) if no]


def pages(deadline, segment=0, of=1, start=None):
    """A part of the table, page by page: the connection ids, a list, and the id that the next page starts behind.

    The part is a segment, one of `of`, from behind the id `start`, if there is one. Behind the last page there is None.
    Raises TimeoutError at the deadline.
    """
    share = {"Segment": segment, "TotalSegments": of} if of > 1 else {}
    limit = FIRST_PAGE
    while True:
        if time.monotonic() > deadline:
            raise TimeoutError("There was no time to read the whole table.")
        from_here = {"ExclusiveStartKey": {"connection_id": {"S": start}}} if start else {}
        answer = dynamodb.scan(
            TableName=os.environ["TABLE"], ProjectionExpression="connection_id", Limit=limit, **share, **from_here
        )
        start = answer.get("LastEvaluatedKey", {}).get("connection_id", {}).get("S")
        yield [item["connection_id"]["S"] for item in answer["Items"]], start
        if not start:
            return
        limit = min(limit * GROWTH, LARGEST_PAGE)


def forget(connection_ids, deadline):
    """Delete the ids of clients that left without `$disconnect`, unless they are only just connecting.

    Those that are not deleted by the deadline are met again by the next broadcast.
    """
    # BatchWriteItem knows no condition, and a transaction fails as a whole.
    request = {
        "TableName": os.environ["TABLE"],
        "ConditionExpression": "connected_at < :settled",
        "ExpressionAttributeValues": {":settled": {"N": str(int(time.time()) - SETTLED_S)}},
    }

    def delete(connection_id):
        # Of an item that $disconnect has deleted meanwhile, the condition is false as well.
        with suppress(dynamodb.exceptions.ConditionalCheckFailedException):
            if time.monotonic() < deadline:
                dynamodb.delete_item(Key={"connection_id": {"S": connection_id}}, **request)

    with ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(delete, connection_ids))


def close(connection_ids, deadline):
    """Close the connections of clients that do not read: each broadcast would try for seconds to reach them. API
    Gateway then runs `$disconnect`, which forgets them, and a page that has only been slow connects again.

    How many could be closed. Those that were not by the deadline are met again by the next broadcast.
    """

    def delete(connection_id):
        with suppress(ClientError, BotoCoreError):
            if time.monotonic() < deadline:
                connections().delete_connection(ConnectionId=connection_id)
                return True
        return False

    with ThreadPoolExecutor(PARALLEL) as pool:
        return sum(pool.map(delete, connection_ids))


def metrics(log):
    """What makes CloudWatch read its figures from this log line: the embedded metric format, at no extra call.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    found = [{"Name": name, "Unit": unit} for name, unit in UNITS.items() if name in log]
    if not found:
        return {}
    described = {"Namespace": "chatlab", "Dimensions": [["function"]], "Metrics": found}
    return {
        "function": os.environ.get("AWS_LAMBDA_FUNCTION_NAME", ""),
        "_aws": {"Timestamp": round(time.time() * 1000), "CloudWatchMetrics": [described]},
    }
