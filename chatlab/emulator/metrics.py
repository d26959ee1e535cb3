"""CloudWatch's figures of the functions: those that AWS counts, and those that a function's log lines carry.

The emulator counts only calls that come through Lambda's own API, and reads no log lines. So each invocation is looked
at where all of them pass. Its duration is that of the emulator's worker, which takes one at a time and reads the log.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import contextvars
import json
import threading
import time
from collections import Counter, deque

from ministack.core.lambda_runtime import Worker
from ministack.services import cloudwatch, lambda_svc
from temper import describe

LATE_S = 20.0
"""How late a figure can be read, where it is late. On AWS it is one to three minutes."""

_waiting = deque()  # (when it can be read, whose account and Region it is, figures), the oldest first
_under_way = Counter()
_lock = threading.Lock()


def with_metrics(app, late_s=0.0):
    """The application, whose CloudWatch knows of each invocation so many seconds later."""
    invoke = Worker.invoke

    def counting(worker, event, *arguments, **options):
        function = worker.config["FunctionName"]
        with _lock:
            _under_way[function] += 1
            at_once = _under_way[function]
        began = time.time()
        response = {}
        try:
            response = invoke(worker, event, *arguments, **options)
        finally:
            took_ms = (time.time() - began) * 1000
            with _lock:
                _under_way[function] -= 1
            figures = _counted(function, event, response, took_ms, at_once) + _embedded(response.get("log") or "")
            points = [(*figure, began) for figure in figures]
            _waiting.append((time.monotonic() + late_s, contextvars.copy_context(), points))
        return response

    async def answering(scope, receive, send):
        if scope["type"] == "http" and _waiting and describe(scope, b"").service == "monitoring":
            while _waiting and _waiting[0][0] <= time.monotonic():
                _, context, points = _waiting.popleft()
                context.run(_store, points)
        await app(scope, receive, send)

    Worker.invoke = counting
    lambda_svc._emit_lambda_metrics = _throttled_only
    return answering


def _throttled_only(function_name, duration_ms, error, throttle):
    """Of what the emulator counts by itself, what never comes to a worker."""
    if throttle:
        cloudwatch.record_metric("AWS/Lambda", "Throttles", 1, "Count", {"FunctionName": function_name})


def _counted(function, event, response, took_ms, at_once):
    """What Lambda and API Gateway count of an invocation: (namespace, name, value, unit, dimensions)."""
    failed = float(response.get("status") != "ok")
    own = {"FunctionName": function}
    figures = [
        ("AWS/Lambda", "Invocations", 1.0, "Count", own),
        ("AWS/Lambda", "Errors", failed, "Count", own),
        ("AWS/Lambda", "Throttles", 0.0, "Count", own),
        ("AWS/Lambda", "Duration", took_ms, "Milliseconds", own),
        ("AWS/Lambda", "ConcurrentExecutions", float(at_once), "Count", own),
    ]
    context = event.get("requestContext") if isinstance(event, dict) else None
    if context and "apiId" in context:
        api = {"ApiId": context["apiId"], "Stage": context["stage"]}
        figures.append(("AWS/ApiGateway", "IntegrationLatency", took_ms, "Milliseconds", api))
    return figures


def _embedded(log):
    """What the lines of a log say in the embedded metric format: the same."""
    figures = []
    for line in log.splitlines():
        if not line.startswith("{") or '"_aws"' not in line:
            continue
        said = json.loads(line)
        for directive in said["_aws"]["CloudWatchMetrics"]:
            for names in directive["Dimensions"]:
                dimensions = {name: said[name] for name in names}
                figures += [
                    (directive["Namespace"], metric["Name"], said[metric["Name"]], metric["Unit"], dimensions)
                    for metric in directive["Metrics"]
                ]
    return figures


def _store(points):
    for namespace, name, value, unit, dimensions, at in points:
        bucket = cloudwatch._metric_bucket((namespace, name, cloudwatch._dims_key(dimensions)))
        bucket.append({"Timestamp": at, "Value": float(value), "Unit": unit, "Dimensions": dimensions})
