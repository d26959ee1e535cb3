"""The `$default` route: the broadcast. What one connection says is posted to every connection, the sender too.

Environment:
    `TABLE`: the DynamoDB table of connection ids.
    `APIGatewayEndpoint`: the stage's URL without `/@connections`.
    `SHARDS`: into how many invocations a large broadcast is split. 1, the default, splits none.
    `SHARD_ABOVE`: how many connections make a broadcast large, 5,000 by default.
    `POSTS_PER_SECOND`: what a broadcast may use of the account's quota, all its invocations together. Without it the
        rate is whatever API Gateway takes.
"""

import base64
import json
import os
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import boto3
import fanout
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

# A connection is in the table a moment before it is open: its item is written inside `$connect`, whose answer opens it.
# A post in between gets 410 too, so 410 removes only items older than the longest `$connect` (the integration
# time-out of 29 s).
SETTLED_S = 30

# Items on a page of the scan. The first is small, so that posting begins at once; each is larger than the one before,
# up to the most, which is about DynamoDB's own 1 MB.
FIRST_PAGE, GROWTH, LARGEST_PAGE = 100, 4, 10_000

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
functions = boto3.client("lambda", config=PATIENCE)


def handler(event, context):
    """Forward the message exactly as it came. There is no response body: on AWS nobody would get it."""
    request = event["requestContext"]
    log = {
        "event": "broadcast",
        "connection_id": request["connectionId"],
        "broadcast": request.get("messageId") or uuid.uuid4().hex,
    }
    try:
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
    """Post `data` (bytes) to every connection in the table, or to this shard's share of them.

    Reading and posting overlap: the first page's connections are posted to while the next page is read. Adds to the
    dict `log` the counts of `fanout.Fanout`; `shards`, how many invocations share the broadcast, or in one that was
    asked for by another `shard`, its number; `scan_ms` and `post_ms`; and `error`, the last failure's text, if there
    was one.
    """
    started = time.perf_counter()

    def read(segment, of):
        """Post to a segment's connections, and yield how many there were on each page."""
        for connection_ids in pages(segment, of, deadline):
            posts.post(connection_ids)
            yield len(connection_ids)

    known = os.environ.get("POSTS_PER_SECOND")
    posts = fanout.Fanout(data, deadline, known and float(known), event.get("shard", {}).get("of", 1))
    try:
        with posts:
            log.update(read_all(read, event, log["broadcast"], posts))
            log["scan_ms"] = round((time.perf_counter() - started) * 1000, 1)
    finally:
        log.update(posts.counts, post_ms=round(posts.post_ms, 1), **({"error": posts.error} if posts.error else {}))
    forget(posts.gone, deadline + RESERVE_S / 2)


def read_all(read, event, broadcast_id, posts):
    """Read this invocation's part of the table, with the generator function `read`; `shards` or `shard`, for the log.

    A large broadcast is split by the segments of a parallel scan. The first segment is read here, and tells how large
    the table is: if it holds more than its part of `SHARD_ABOVE`, an invocation is asked for each of the others, and
    each has its share of the rate from then on.
    """
    if shard := event.get("shard"):  # one level: a share is never split again
        sum(read(shard["segment"], shard["of"]))
        return {"shard": shard["segment"]}
    of = int(os.environ.get("SHARDS", 1))
    threshold = int(os.environ.get("SHARD_ABOVE", 5_000))
    mine, found, is_split = range(1, of), 0, of == 1
    for number in read(0, of):
        found += number
        if not is_split and found * of > threshold:
            mine, is_split = ask_for_shards(event, broadcast_id, of), True
            posts.share(of - len(mine))
    with ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(lambda segment: sum(read(segment, of)), mine))
    return {"shards": of - len(mine)}


def ask_for_shards(event, broadcast_id, of):
    """Invoke this function for each segment but the first; the segments that Lambda would not take, as a list.

    Lambda runs an asynchronous invocation at least once, and now and then twice: docs/fanout.md says what that means.
    """
    message = {
        "requestContext": {"connectionId": event["requestContext"]["connectionId"], "messageId": broadcast_id},
        "body": event["body"],
        "isBase64Encoded": event.get("isBase64Encoded", False),
    }

    def refused(segment):
        try:
            functions.invoke(
                FunctionName=os.environ["AWS_LAMBDA_FUNCTION_NAME"],
                InvocationType="Event",
                Payload=json.dumps(message | {"shard": {"segment": segment, "of": of}}),
            )
        except (ClientError, BotoCoreError):
            return True

    with ThreadPoolExecutor(PARALLEL) as pool:
        return [segment for segment, no in zip(range(1, of), pool.map(refused, range(1, of)), strict=True) if no]


def pages(segment, of, deadline):
    """The connection ids of a segment of the table, one of `of`, as a list for each page of its scan.

    Raises TimeoutError at the deadline.
    """
    share = {"Segment": segment, "TotalSegments": of} if of > 1 else {}
    limit, start = FIRST_PAGE, {}
    while True:
        if time.monotonic() > deadline:
            raise TimeoutError("There was no time to read the whole table.")
        answer = dynamodb.scan(
            TableName=os.environ["TABLE"], ProjectionExpression="connection_id", Limit=limit, **share, **start
        )
        yield [item["connection_id"]["S"] for item in answer["Items"]]
        if "LastEvaluatedKey" not in answer:
            return
        limit, start = min(limit * GROWTH, LARGEST_PAGE), {"ExclusiveStartKey": answer["LastEvaluatedKey"]}


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
