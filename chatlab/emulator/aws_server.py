"""Serve the emulator as AWS: `python chatlab/emulator chatlab.emulator.aws_server FOLDER TRAITS`.

HTTPS on port 443, and HTTP on port 80 for S3's websites, as AWS has them. No guard stands in front: nobody else is in
the network namespace. See `chatlab/rehearsal`.
"""

import asyncio
import os
from pathlib import Path

import uvicorn
import uvloop
from ministack import app as ministack_app

from chatlab.emulator.cloud import cloud
from chatlab.emulator.server import configuration
from chatlab.emulator.website import with_websites

# MiniStack takes the first part of a host name that it does not know for a bucket's name.
ministack_app._NON_S3_VHOST_NAMES |= {"budgets", "organizations", "scheduler", "tagging"}


def main(folder: str, traits: str) -> None:
    """Serve until SIGTERM. The access key of the person who uses AWS is in `key.json` in the folder."""
    uvloop.run(_serve(Path(folder), traits))


async def _serve(folder: Path, traits: str) -> None:
    app = cloud(folder / "key.json", traits)
    certificate, private_key = Path(os.environ["MINISTACK_SSL_CERT"]), Path(os.environ["MINISTACK_SSL_KEY"])
    https = uvicorn.Server(configuration(app, port=443, certificate=certificate, private_key=private_key))
    http = uvicorn.Server(configuration(with_websites(app), port=80, lifespan="off"))
    await asyncio.gather(http.serve(), https.serve())
