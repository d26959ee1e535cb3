"""The room's key: who does not have it can't connect. A room has one only if its owner wants it.

It is one secret for all who come, and part of a URL: docs/security.md says what that is worth. The function behind
`$connect` has it in its environment, and it is read from there; no file of the lab's holds it.
"""

import os
import re
import urllib.parse

from chatlab.errors import LabError
from chatlab.privacy import add_secrets

KEY = re.compile(r"[A-Za-z0-9._~-]{16,128}")  # what no URL has to quote, and nobody guesses


def validate_key(key):
    """`key` itself, which is masked from now on wherever it is shown. None and "" are no key, and pass.

    Raises LabError for a key that can't be one.
    """
    if key and not KEY.fullmatch(key):
        raise LabError(
            "ROOM_KEY has to be 16 to 128 letters, digits, hyphens, dots, underscores or tildes: "
            '`python -c "import secrets; print(secrets.token_urlsafe())"` makes one.'
        )
    add_secrets(key)
    return key


def key(lab):
    """The room's key; "" if it has none."""
    configuration = lab.client("lambda").get_function_configuration(FunctionName=lab.functions["connect"])
    return validate_key(configuration["Environment"]["Variables"].get("ROOM_KEY", ""))


def query_string(lab):
    """What a client's URL has to have after its "?"; "" if the room has no key."""
    return urllib.parse.urlencode({"key": secret}) if (secret := key(lab)) else ""


def websocket_url(lab, api_id):
    """Where a client connects that may come in. `lab.websocket_url` is the same without the key."""
    return "?".join(filter(None, [lab.websocket_url(api_id), query_string(lab)]))


def page_url(lab):
    """The page's address for somebody who may come in. What is behind its "#" a browser sends to no server."""
    return "#".join(filter(None, [lab.page_url, query_string(lab)]))


def give_to_load_test(lab):
    """Give the key to all load tests that this process starts: by the environment, so that no command line and no
    report shows it."""
    os.environ["LOADTEST_QUERY"] = query_string(lab)
