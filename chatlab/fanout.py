"""The broadcast's package `fanout`: the model takes constants from it, the benchmarks measure it."""

import sys

from chatlab.paths import LAMBDAS

sys.path.append(str(LAMBDAS))  # last, so that it hides nothing; on Lambda, `fanout` lies beside the handler

from fanout import Fanout
from fanout.http_connections import (
    INITIAL_WINDOW,
    MAX_CONNECTIONS,
    MIN_WINDOW,
    POOLS,
    ConnectionPool,
    close_pools,
)

__all__ = ["INITIAL_WINDOW", "MAX_CONNECTIONS", "MIN_WINDOW", "POOLS", "ConnectionPool", "Fanout", "close_pools"]
