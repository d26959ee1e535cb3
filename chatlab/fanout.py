"""The broadcast's package `fanout`: the model takes constants from it, the benchmarks measure it.

On Lambda, `fanout` lies beside the handler. Here it lies in `lambdas/`, which is not on the path.
"""

import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location

from chatlab.paths import LAMBDAS

if not find_spec("fanout"):
    spec = spec_from_file_location("fanout", LAMBDAS / "fanout" / "__init__.py")
    assert spec and spec.loader  # it is a file of Python's
    sys.modules["fanout"] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules["fanout"])

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
