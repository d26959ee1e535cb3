"""What the load test adds to Locust's own web page: a tab with the live metrics, and a check of who asks."""

import ipaddress
import json
from urllib.parse import urlsplit

from flask import Flask, Response, request
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
    "outstanding": "Deliveries on their way",
    "missing": "Deliveries missing (known at the end)",
    "message": "Message",
}


def refuse_other_sites(web_ui: WebUI, listens_on: str) -> None:
    """Let no page of another site start or stop a test.

    Locust's page has no log-in, and any page that is open in the same browser can send it a form. So a request from
    another site is refused with status 403, except a link to the page; and so is one for a host name that somebody may
    have made to resolve to this machine (DNS rebinding).

    Args:
        web_ui: Locust's.
        listens_on: the host name on which it listens.
    """

    @_app(web_ui).before_request
    def refuse() -> Response | None:
        host, headers = request.headers.get("Host", ""), request.headers
        if not _is_address(name := urlsplit(f"//{host}").hostname or "") and name not in ("localhost", listens_on):
            return Response(f"This page is at http://{listens_on}:{web_ui.port} only.\n", 403)
        if urlsplit(headers.get("Origin", f"//{host}")).netloc != host:
            return Response("A page of another site may ask for nothing here.\n", 403)
        is_link = request.path == "/" and headers.get("Sec-Fetch-Dest") == "document"
        if headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin") and not is_link:
            return Response("A page of another site may ask for nothing here.\n", 403)
        return None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def extend(web_ui: WebUI, coordinator: Coordinator) -> None:
    """Add the tab, in the way that Locust documents (docs.locust.io, Extending the web UI)."""
    web_ui.template_args |= {
        "extended_tabs": [{"title": "Broadcasts", "key": KEY}],
        "extended_tables": [
            {"key": KEY, "structure": [{"key": "name", "title": "Metric"}, {"key": "value", "title": "Value"}]}
        ],
    }

    @_app(web_ui).after_request
    def add_metrics(response: Response) -> Response:
        # The page requests this path every two seconds, and shows in the tab what it finds under `extended_stats`.
        if request.path.endswith("/stats/requests") and response.is_json:
            rows = [
                {"name": name, "safeName": name, "value": _shown(coordinator, key)} for key, name in METRICS.items()
            ]
            response.set_data(json.dumps((response.json or {}) | {"extended_stats": [{"key": KEY, "data": rows}]}))
        return response


def _shown(coordinator: Coordinator, key: str) -> object:
    value = coordinator.progress.get(key)
    return "" if value is None else value


def _app(web_ui: WebUI) -> Flask:
    if web_ui.app is None:
        raise RuntimeError("Locust's web page has not been made yet.")
    return web_ui.app
