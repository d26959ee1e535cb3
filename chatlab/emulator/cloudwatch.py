"""CloudWatch's metrics and logs of the functions: what AWS counts, what they print, and the metrics in what they print.

MiniStack counts and logs only calls that come through Lambda's own API, and reads no log lines. So each invocation is
measured here in MiniStack's worker, which all invocations pass. It takes one at a time, and reads the log.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import contextvars
import json
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from ministack.core.lambda_runtime import Worker
from ministack.services import cloudwatch, cloudwatch_logs, lambda_svc

from chatlab.emulator.calls import App, Receive, Scope, Send, parse_call
from chatlab.emulator.iam import role_may


class _Datum(NamedTuple):
    """One value of a metric, as CloudWatch takes it."""

    namespace: str
    name: str
    value: float
    unit: str
    dimensions: dict[str, str]


_pending: deque[tuple[float, Callable[[], None]]] = deque()
"""The oldest first: from when on the figures of an invocation can be read (monotonic clock), and what stores them."""
_concurrent: Counter[str] = Counter()  # invocations under way, by function
_streams: WeakKeyDictionary[Worker, str] = WeakKeyDictionary()
"""The name of each worker's log stream: as on AWS, each instance of a function has one."""
_lock = threading.Lock()

MAX_LINES = 10_000
"""Of each log stream: what is older is forgotten, since the local cloud keeps all in memory."""


def with_metrics(app: App, delay_s: float = 0.0) -> App:
    """The application, whose CloudWatch has the figures of an invocation `delay_s` after it."""
    invoke = Worker.invoke

    def invoke_and_measure(worker: Any, event: Any, *arguments: Any, **options: Any) -> Any:
        function: str = worker.config["FunctionName"]
        with _lock:
            _concurrent[function] += 1
            concurrent = _concurrent[function]
        began = time.time()
        response: dict[str, Any] = {}
        try:
            response = invoke(worker, event, *arguments, **options)
        finally:
            duration_ms = (time.time() - began) * 1000
            with _lock:
                _concurrent[function] -= 1
            has_failed = response.get("status") != "ok"
            data = _standard_metrics(function, event, has_failed, duration_ms, concurrent)
            data += _embedded_metrics(response.get("log") or "")
            _log(worker, response.get("log") or "", time.time())
            store = partial(contextvars.copy_context().run, _store, data, began)  # the context says whose they are
            _pending.append((time.monotonic() + delay_s, store))
            _store_what_is_due()  # here, too: nobody may ever read, and it would pile up
        return response

    async def store_before_reading(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _pending and parse_call(scope, b"").service == "monitoring":
            _store_what_is_due()
        await app(scope, receive, send)

    Worker.invoke = invoke_and_measure
    lambda_svc._emit_lambda_metrics = _count_throttles
    lambda_svc._emit_lambda_logs = lambda *_, **__: None  # `_log` has done it
    return store_before_reading


def _count_throttles(function_name: str, duration_ms: float, error: bool, throttle: bool) -> None:
    """Take over from MiniStack's own counts only what never comes to a worker."""
    if throttle:
        cloudwatch.record_metric("AWS/Lambda", "Throttles", 1, "Count", {"FunctionName": function_name})


def _standard_metrics(function: str, event: Any, has_failed: bool, duration_ms: float, concurrent: int) -> list[_Datum]:
    """What Lambda and API Gateway count of an invocation."""
    own = {"FunctionName": function}
    counts = {"Invocations": 1, "Errors": has_failed, "Throttles": 0, "ConcurrentExecutions": concurrent}
    data = [_Datum("AWS/Lambda", name, float(count), "Count", own) for name, count in counts.items()]
    data.append(_Datum("AWS/Lambda", "Duration", duration_ms, "Milliseconds", own))
    context = event.get("requestContext") if isinstance(event, dict) else None
    if context and "apiId" in context:
        api = {"ApiId": context["apiId"], "Stage": context["stage"]}
        data.append(_Datum("AWS/ApiGateway", "IntegrationLatency", duration_ms, "Milliseconds", api))
    return data


def _embedded_metrics(log: str) -> list[_Datum]:
    """What the lines of a log say in the embedded metric format."""
    data = []
    for line in log.splitlines():
        if not line.startswith("{") or '"_aws"' not in line:
            continue
        fields = json.loads(line)
        for directive in fields["_aws"]["CloudWatchMetrics"]:
            for names in directive["Dimensions"]:
                dimensions = {name: fields[name] for name in names}
                for metric in directive["Metrics"]:
                    value = float(fields[metric["Name"]])
                    data.append(_Datum(directive["Namespace"], metric["Name"], value, metric["Unit"], dimensions))
    return data


def _log(worker: Any, log: str, timestamp: float) -> None:
    """Put what an invocation printed into its log group, if there is one and the function's role may write there.

    Lambda's own lines (START, END, REPORT) are left out.
    """
    config = worker.config
    name = f"/aws/lambda/{config['FunctionName']}"
    group = cloudwatch_logs._log_groups.get(name)
    if not log or group is None:
        return
    stream_name = _streams.setdefault(worker, f"{time.strftime('%Y/%m/%d')}/[$LATEST]{uuid.uuid4().hex}")
    if stream_name not in group["streams"] and not _may_write(config, f"{group['arn'].removesuffix(':*')}:log-stream:"):
        return
    milliseconds = round(1000 * timestamp)
    new = dict.fromkeys(("firstEventTimestamp", "lastEventTimestamp", "lastIngestionTime"))
    new |= {"events": [], "uploadSequenceToken": "1", "creationTime": milliseconds}
    stream = group["streams"].setdefault(stream_name, new)
    lines = [{"timestamp": milliseconds, "message": line, "ingestionTime": milliseconds} for line in log.splitlines()]
    cloudwatch_logs._append_log_events(stream, lines)
    if len(stream["events"]) > MAX_LINES:
        del stream["events"][:-MAX_LINES]


def _may_write(config: dict[str, Any], stream_arn: str) -> bool:
    """Whether the function's role may put lines into a new log stream."""
    region = config["FunctionArn"].split(":")[3]
    actions = ("logs:CreateLogStream", "logs:PutLogEvents")
    return all(role_may(config["Role"], action, stream_arn, region) for action in actions)


def _store_what_is_due() -> None:
    with _lock:
        while _pending and _pending[0][0] <= time.monotonic():
            _, store = _pending.popleft()
            store()


def _store(data: list[_Datum], timestamp: float) -> None:
    """Store the data of an invocation that began then, in seconds since 1970."""
    for datum in data:
        key = datum.namespace, datum.name, cloudwatch._dims_key(datum.dimensions)
        point = {"Timestamp": timestamp, "Value": datum.value, "Unit": datum.unit, "Dimensions": datum.dimensions}
        cloudwatch._metric_bucket(key).append(point)
