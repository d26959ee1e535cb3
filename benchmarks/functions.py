"""The broadcast's own modules, for measuring it in a process of this machine.

On Lambda their folder is on the path. Here it is on the path while they are imported, and not afterwards.
"""

import sys

from chatlab.paths import LAMBDAS

sys.path.insert(0, str(LAMBDAS))
try:
    from fanout import Fanout
    from fanout.http_connections import POOLS, ConnectionPool, HttpConnection, close_pools
finally:
    sys.path.remove(str(LAMBDAS))

__all__ = ["POOLS", "ConnectionPool", "Fanout", "HttpConnection", "close_pools"]
