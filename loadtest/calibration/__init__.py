"""Why you can trust the load test: it measures a server whose behaviour is known, and so does a naive client."""
