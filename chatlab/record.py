"""The record of a run on AWS: what each call was answered, and how long each wait took. Nothing in it is private.

A line is a JSON object: of a call `service`, `operation`, `status`, `error` (its code, or botocore's name for it; null
if there was none), `attempts` and `ms`; of a wait `waited_for`, `seconds`, and whether it came. docs/aws.md says what
such a record settles.
"""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from chatlab.privacy import redact

FILE = "aws-calls.jsonl"
_NAMES = re.compile(r"\S*[\d:/]\S*")  # the words that may be an id, an address or a number of things
_path: Path | None = None


def begin(path: Path) -> None:
    """Append the calls and waits of this process to the file at `path` from now on, as other processes do."""
    global _path
    _path = path


@contextmanager
def call(service: str, operation: str) -> Iterator[dict[str, Any]]:
    """Record the call that is made within, whose response goes into the dict."""
    began, response, error = time.monotonic(), dict[str, Any](), None
    try:
        yield response
    except Exception as failed:
        response |= failed.response if isinstance(failed, ClientError) else {}
        error = response.get("Error", {}).get("Code") or type(failed).__name__
        raise
    finally:
        answer, ms = response.get("ResponseMetadata", {}), round(1000 * (time.monotonic() - began))
        status, attempts = answer.get("HTTPStatusCode"), answer.get("RetryAttempts", 0) + 1
        _append(service=service, operation=operation, status=status, error=error, attempts=attempts, ms=ms)


def wait(waited_for: str, seconds: float, came: bool) -> None:
    """Record a wait, without the names of what was waited for."""
    _append(waited_for=_NAMES.sub("…", waited_for), seconds=round(seconds, 1), came=came)


def _append(**fields: object) -> None:
    if _path:
        with suppress(OSError), _path.open("a", encoding="utf-8") as file:  # a full disk must not stop a run
            file.write(redact(json.dumps(fields, ensure_ascii=False)) + "\n")
