"""Serve the emulator as AWS, in a namespace of its own: `python chatlab/emulator/aws.py <folder> <traits>`.

HTTPS on port 443, and HTTP on port 80 for S3's websites, as AWS has them. No guard stands in front: nobody else is in
the namespace. See `chatlab/rehearsal`.
"""

import asyncio
import os
import sys
from pathlib import Path

import frames
import uvicorn
import uvloop
from cloud import cloud
from ministack import app as emulator
from website import with_websites

HOST = "127.0.0.1"

# The emulator takes the first part of a name that it does not know for a bucket's.
emulator._NON_S3_VHOST_NAMES |= {"budgets", "organizations", "scheduler", "tagging"}


async def main(folder, traits):
    """Serve until SIGTERM."""
    app = cloud(Path(folder) / "key.json", traits)
    common = {"host": HOST, **frames.SERVER, "timeout_keep_alive": 75, "timeout_graceful_shutdown": 1}
    common |= {"access_log": False, "log_level": "warning", "backlog": 2048}
    material = {"ssl_certfile": os.environ["MINISTACK_SSL_CERT"], "ssl_keyfile": os.environ["MINISTACK_SSL_KEY"]}
    secure = uvicorn.Server(uvicorn.Config(app, port=443, lifespan="on", **material, **common))
    plain = uvicorn.Server(uvicorn.Config(with_websites(app), port=80, lifespan="off", **common))
    await asyncio.gather(plain.serve(), secure.serve())


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
