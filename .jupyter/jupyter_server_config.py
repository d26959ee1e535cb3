"""What `make lab` adds to your own settings: kernels that speak where nobody else can listen, as in `make run`."""

import atexit
import os
import tempfile

# Jupyter puts its kernels' sockets into its own folder, and a socket's path may have 107 characters.
folder = tempfile.TemporaryDirectory(prefix="chatlab-", dir="/tmp")
atexit.register(folder.cleanup)
os.environ["JUPYTER_RUNTIME_DIR"] = folder.name
get_config().KernelManager.transport = "ipc"  # noqa: F821  # Jupyter defines get_config
