"""Coroutines in tests, which are not asynchronous."""

import asyncio
from concurrent.futures import ThreadPoolExecutor


def run_async(coroutine):
    """What the coroutine returns. In a thread of its own: Playwright leaves a loop running in the one of the tests."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()
