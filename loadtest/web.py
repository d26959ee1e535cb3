"""The running figures in Locust's own web page: a tab beside its statistics."""

import json

from flask import request
from locust.web import WebUI

from loadtest.coordinator import Coordinator

KEY = "broadcasts"
FIGURES = {
    "state": "State",
    "open": "Connections open",
    "users": "Connections asked for",
    "sent": "Broadcasts sent, without the warm-up",
    "broadcasts": "Broadcasts asked for",
    "delivered": "Deliveries",
    "deliveries_per_s": "Deliveries per second",
    "p50_ms": "Latency p50 (ms)",
    "p99_ms": "Latency p99 (ms)",
    "outstanding": "Deliveries on their way",
    "missing": "Deliveries missing (known at the end)",
    "message": "Message",
}


def extend(web_ui: WebUI, coordinator: Coordinator) -> None:
    """Add the tab, in the way that Locust documents (docs.locust.io, Extending the web UI)."""
    web_ui.template_args |= {
        "extended_tabs": [{"title": "Broadcasts", "key": KEY}],
        "extended_tables": [
            {"key": KEY, "structure": [{"key": "name", "title": "Figure"}, {"key": "value", "title": "Value"}]}
        ],
    }

    @web_ui.app.after_request
    def add_figures(response):
        # The page asks for this path every two seconds, and shows in the tab what it finds under `extended_stats`.
        if request.path.endswith("/stats/requests") and response.is_json:
            rows = [
                {"name": name, "safeName": name, "value": "" if (value := coordinator.live.get(key)) is None else value}
                for key, name in FIGURES.items()
            ]
            response.set_data(json.dumps(response.json | {"extended_stats": [{"key": KEY, "data": rows}]}))
        return response
