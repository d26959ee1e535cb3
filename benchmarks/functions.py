"""The broadcast's own modules, for measuring it in a process of this machine.

On Lambda they are in one folder, and import each other by their names. So that folder is on the path while they are
imported, and not afterwards.
"""

import sys

from chatlab.paths import LAMBDAS

sys.path.insert(0, str(LAMBDAS))
try:
    from connection_set import ConnectionSet
    from fanout import Fanout
    from http_pool import ConnectionPool, HttpConnection, connection_pool
finally:
    sys.path.remove(str(LAMBDAS))

__all__ = ["ConnectionPool", "ConnectionSet", "Fanout", "HttpConnection", "connection_pool"]
