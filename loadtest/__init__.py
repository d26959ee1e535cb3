"""Measure how long one WebSocket broadcast takes to reach every connection, by the kernel's timestamps.

Run it with Locust (`locust -f loadtest/locustfile.py`), read it with `loadtest.results.load`, draw it with
`loadtest.plots`, watch it with `loadtest.live.watch`. docs/loadtest.md explains the measures and the files.

The modules, in the order of a test:

- `locustfile`, `arguments`, `web`: what Locust loads, and what a test is asked to do.
- `coordinator`, `lifecycle`, `collector`: one process begins a test, leads it through its phases, collects the records
  and writes the results.
- `exchange`: what this process and the generators say to each other.
- `generator`, `connections`: every process with connections, what it sends and receives on them, and when.
- `connection`, `sockets`, `messages`, `clock`, `records`: one connection, what is said on it, and its times.
- `protocols`: how it is said, where a frame is not just a message.
- `results`, `intervals`, `verdict`, `delivery_order`, `comparison`, `plots`, `ripple`: from the records to a result,
  whether you can trust it, and how it looks.
- `live`, `warm_up`, `capacity`: watch a test, measure a handshake before it, search for the largest room by many.
- `task`: a test in a container, which hands over what it found.
- `calibration`: the proof that the readings are right.
"""
