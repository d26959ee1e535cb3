"""The room's key, without which nobody can connect. A room has one only if its owner wants it.

It is one secret for everybody, and part of a URL: docs/security.md says what that is worth. The environment of the
function behind `$connect` holds it; no file of the lab's does.
"""

import os
import re
import urllib.parse
from typing import TypeVar

from chatlab.errors import LabError
from chatlab.lab import Lab
from chatlab.privacy import add_secrets

T = TypeVar("T", str, str | None)
KEY_PATTERN = re.compile(r"[A-Za-z0-9._~-]{16,128}")  # no URL has to quote it, and nobody guesses it


def validate(key: T) -> T:
    """Return `key`, and redact it from now on wherever it is shown. None and "" mean no key, and pass.

    Raises LabError for an impossible key.
    """
    if key and not KEY_PATTERN.fullmatch(key):
        raise LabError(
            "ROOM_KEY has to be 16 to 128 letters, digits, hyphens, dots, underscores or tildes: "
            '`python -c "import secrets; print(secrets.token_urlsafe())"` makes one.'
        )
    add_secrets(key)
    return key


def read(lab: Lab) -> str:
    """The room's key; "" if it has none."""
    configuration = lab.client("lambda").get_function_configuration(FunctionName=lab.functions["connect"])
    found: str = configuration["Environment"]["Variables"].get("ROOM_KEY", "")
    return validate(found)


def query_string(lab: Lab) -> str:
    """What a client's URL needs after its "?"; "" if the room has no key."""
    return urllib.parse.urlencode({"key": secret}) if (secret := read(lab)) else ""


def websocket_url(lab: Lab, api_id: str) -> str:
    """Where a client with the key connects. `lab.websocket_url` is the same without the key."""
    return "?".join(filter(None, [lab.websocket_url(api_id), query_string(lab)]))


def page_url(lab: Lab) -> str:
    """The page's address with the key, after a "#": a browser sends no server that part."""
    return "#".join(filter(None, [lab.page_url, query_string(lab)]))


def give_to_load_test(lab: Lab) -> None:
    """Give the key to all load tests that this process starts.

    It is in the environment, so that no command line and no report shows it.
    """
    os.environ["LOADTEST_QUERY"] = query_string(lab)
