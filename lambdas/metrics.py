"""CloudWatch metrics of a broadcast, at no extra call: the embedded metric format.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import os
import time
from collections.abc import Container

NAMESPACE = "chatlab"
UNITS = dict.fromkeys(
    ("connections", "delivered", "gone", "failed", "throttled", "retried", "unreached", "shards"), "Count"
) | dict.fromkeys(("scan_ms", "post_ms"), "Milliseconds")


def embedded_metrics(log: Container[str]) -> dict[str, object]:
    """What makes CloudWatch read its figures from the log line that has it beside these fields; nothing without any."""
    metrics = [{"Name": name, "Unit": unit} for name, unit in UNITS.items() if name in log]
    if not metrics:
        return {}
    directive = {"Namespace": NAMESPACE, "Dimensions": [["function"]], "Metrics": metrics}
    return {
        "function": os.environ.get("AWS_LAMBDA_FUNCTION_NAME", ""),
        "_aws": {"Timestamp": round(time.time() * 1000), "CloudWatchMetrics": [directive]},
    }
