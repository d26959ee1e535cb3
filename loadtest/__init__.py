"""Measure how long one WebSocket broadcast takes to reach every connection: Locust, websocket-client, kernel stamps.

Run it with Locust (`locust -f loadtest/locustfile.py`), read it with `loadtest.results.load`, draw it with
`loadtest.plots`, watch it with `loadtest.live.watch`. docs/loadtest.md explains the measures and the files.
"""
