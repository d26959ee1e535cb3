"""The `$connect` route: remember the connection, so that a broadcast can reach it.

Environment: `TABLE`, the DynamoDB table of connection ids.
"""

import json
import os
import time

import boto3
from botocore.config import Config

# API Gateway ends every connection after two hours. An item that outlives its connection (because `$disconnect` is
# best effort) is removed by DynamoDB's time to live; the third hour is a margin.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
LIFETIME_S = 3 * 60 * 60

# Three attempts, and up to 1 s and 2 s between them, are over within 9 s, and the function has 10. boto3's own ten
# attempts could take half a minute, and what is stopped by its time-out has said nothing in its log.
PATIENCE = Config(retries={"mode": "standard", "total_max_attempts": 3}, connect_timeout=1, read_timeout=1)

# Made once per execution environment: every warm invocation reuses the client and its connection to DynamoDB.
dynamodb = boto3.client("dynamodb", config=PATIENCE)


def handler(event, context):
    """Put the connection's id into the table. A status outside 200-299 makes API Gateway refuse the handshake."""
    log = {"event": "connect"}
    now = int(time.time())
    started = time.perf_counter()
    try:
        connection_id = event["requestContext"]["connectionId"]
        log["connection_id"] = str(connection_id)
        dynamodb.put_item(
            TableName=os.environ["TABLE"],
            Item={
                "connection_id": {"S": connection_id},
                "connected_at": {"N": str(now)},
                "expires_at": {"N": str(now + LIFETIME_S)},
            },
        )
        status = 200
    except Exception as error:  # whatever it is, an unremembered connection would never hear anything: refuse it
        log["error"] = f"{type(error).__name__}: {error}"
        status = 500
    log["put_ms"] = round((time.perf_counter() - started) * 1000, 1)
    print(json.dumps(log))
    return {"statusCode": status}
