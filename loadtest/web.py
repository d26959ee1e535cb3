"""What the load test adds to Locust's own web page: a tab with the live metrics."""

import json

from flask import Response, request
from locust.web import WebUI

from loadtest.coordinator import Coordinator

KEY = "broadcasts"
METRICS = {
    "state": "State",
    "open": "Connections open",
    "users": "Connections asked for",
    "refused": "Handshakes refused because of too much load",
    "sent": "Broadcasts sent, without the warm-up",
    "broadcasts": "Broadcasts asked for",
    "delivered": "Deliveries",
    "deliveries_per_s": "Deliveries per second",
    "p50_ms": "Latency p50 (ms)",
    "p99_ms": "Latency p99 (ms)",
    "in_flight": "Deliveries on their way",
    "missing": "Deliveries missing (known at the end)",
    "message": "Message",
}


def extend(web_ui: WebUI, coordinator: Coordinator) -> None:
    """Add the tab, in the way that Locust documents (docs.locust.io, Extending the web UI)."""
    web_ui.template_args |= {
        "extended_tabs": [{"title": "Broadcasts", "key": KEY}],
        "extended_tables": [
            {"key": KEY, "structure": [{"key": "name", "title": "Metric"}, {"key": "value", "title": "Value"}]}
        ],
    }

    app = web_ui.app
    assert app is not None, "Locust makes its page before it says that it is ready."

    @app.after_request
    def add_metrics(response: Response) -> Response:
        # The page requests this path every two seconds, and shows in the tab what it finds under `extended_stats`.
        if request.path.endswith("/stats/requests") and response.is_json:
            shown = {name: coordinator.progress.get(key) for key, name in METRICS.items()}
            rows = [
                {"name": name, "safeName": name, "value": "" if value is None else value}
                for name, value in shown.items()
            ]
            response.set_data(json.dumps((response.json or {}) | {"extended_stats": [{"key": KEY, "data": rows}]}))
        return response
