"""Measure how long one WebSocket broadcast takes to reach every connection, by the kernel's timestamps.

Run it with Locust (`locust -f loadtest/locustfile.py`), read it with `loadtest.results.load`, draw it with
`loadtest.plots`, watch it with `loadtest.live.watch`. docs/loadtest.md explains the measures and the files.

The modules, in the order of a test:

- `locustfile`, `arguments`, `schedule`, `shapes`, `web`: what Locust loads, and its options.
- `coordinator`, `session`, `run`, `budget`, `collector`, `reporter`: one process leads the test through its phases,
  collects the records and writes the results.
- `protocol`: the messages between this process and the generators.
- `generator`, `generator_run`, `synchronisation`, `process_usage`, `worker_reporter`: every process with connections.
- `connections`, `connection`, `proxy`, `throttling`, `sender`, `receiver`, `messages`, `outstanding`, `clock`,
  `records`: its connections, what it sends and receives on them, and when.
- `assembly`, `intervals`, `verdict`, `results`, `plots`, `order`: from the records to a result, and whether you can
  trust it.
- `calibration`: the proof that the readings are right.
"""
