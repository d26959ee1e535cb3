"""Redact what is private in everything that the lab shows, so that you can pass on notebooks and errors.

Private are account ids; the ids of access keys, users and roles; secret, session and API keys; e-mail addresses; and
the names of users and sessions in ARNs (with IAM Identity Center, a session's name is an e-mail address).
"""

import re
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:  # this module is loaded by each command, and needs neither
    import boto3
    from nbformat import NotebookNode

REDACTED = "·" * 12

# The group `kept` of a match stays.
PRIVATE_PATTERNS = [
    re.compile(pattern)
    for pattern in (
        r"(?P<kept>(?i:secret_?access_?key|session_?token|security[_\-]?token)\W{1,8})[A-Za-z0-9/+=%]{30,}",
        # Names may have a path before them. https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
        r"(?P<kept>arn:[\w\-]+:(?:iam|sts)::[^:\s]*:(?:user/|federated-user/|assumed-role/[\w+=,.@\-]+/))"
        r"[\w+=,.@/\-]*[\w+=@\-]",
        # Ids of access keys, users and roles; after a role's id, the name of a session.
        r"(?<![A-Za-z0-9])(?:AKIA|ASIA|AIDA|AROA)[A-Z0-9]{16,}(?::[\w+=,.@\-]+)?(?![A-Za-z0-9])",
        # API keys of AppSync.
        r"(?<![A-Za-z0-9])da2-[a-z0-9]{26}(?![A-Za-z0-9])",
        # E-mail addresses, also in a URL, but not the version of a package, react@19.2.0-beta.x.
        r"(?<![\w.+\-])[\w.+\-]{1,64}(?:@|%40)(?!\d+\.\d)(?:[A-Za-z0-9\-]{1,63}\.)+[A-Za-z]{2,24}(?!\w)",
        # `aws configure sso` names a profile after its account: AdministratorAccess-123456789012.
        r"(?P<kept>(?i:profile)\W{1,8}[\w.+\-]*?)(?<!\d)\d{12}(?!\d)",
        # An account: 12 digits, alone, and not within a number, a UUID, a digest or a name: see `add_secrets`.
        r"(?<![\w.\-])\d{12}(?![\w\-]|\.\d)",
    )
]
# What a terminal takes for a colour, or to clear a line: control sequences, as ECMA-48, section 5.4, has them.
CONTROL_SEQUENCES = re.compile(r"(\x1b\[[0-?]*[ -/]*[@-~])")

MIN_SECRET_LENGTH = 12  # characters: AWS has no shorter ones; a test's may be a word
SHOWN_MESSAGES = frozenset(
    {"stream", "display_data", "update_display_data", "execute_result", "error", "execute_reply"}
)

_secrets: set[str] = set()


def add_secrets(*values: str | None) -> None:
    """Redact these texts, too, wherever they stand: an account id, a secret key, a session token. Ignores None."""
    for value in values:
        if value and len(value) >= MIN_SECRET_LENGTH:
            if value.isdecimal():  # also in a name, but not in a number: the local cloud's account is all zeros
                _secrets.add(rf"(?<![\d.]){value}(?!\d)")
            else:
                _secrets.update({re.escape(value), re.escape(quote(value, safe=""))})


def add_session_secrets(session: "boto3.Session") -> None:
    """Redact the credentials with which the boto3 `session` signs, from the first request on; renewed ones, too."""

    def learn(**event: object) -> None:
        if credentials := session.get_credentials():
            add_secrets(*credentials.get_frozen_credentials())

    session.events.register("before-sign", learn)


def redact(text: str) -> str:
    """`text` with dots in place of what is private. To redact it again changes nothing."""
    parts = CONTROL_SEQUENCES.split(text)  # every second one is a sequence, such as a traceback's colours
    parts[::2] = [_redact(part) for part in parts[::2]]
    return "".join(parts)


def _redact(text: str) -> str:
    if _secrets:
        text = re.sub("|".join(sorted(_secrets)), REDACTED, text)
    for pattern in PRIVATE_PATTERNS:
        text = pattern.sub(lambda match: match.groupdict().get("kept", "") + REDACTED, text)
    return text


def redact_values(value: Any) -> Any:  # JSON: what goes in comes out, in the same form
    """A copy of `value`, JSON as Python has it, with its texts redacted. Pictures and keys stay as they are."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: item if str(key).startswith("image/") else redact_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact_values(item) for item in value]
    return value


def redact_notebook(notebook: "NotebookNode") -> "NotebookNode":
    """Redact a notebook's sources and outputs, in place, and return it."""
    for cell in notebook.cells:
        cell.source = redact(cell.source)
        for output in cell.get("outputs", []):
            output.update(redact_values(output))
    return notebook


def redact_kernel_output() -> None:
    """In a Jupyter kernel, redact all that its cells show from now on: texts, tables and errors. Elsewhere, do nothing.

    All of it leaves the kernel as messages of one session. IPython's own hooks would have to be four, and it has none
    for errors.
    """
    ipython = sys.modules.get("IPython")
    kernel = getattr(ipython.get_ipython(), "kernel", None) if ipython else None
    if kernel is None or hasattr(kernel.session, "serialize_unredacted"):
        return
    session = kernel.session
    session.serialize_unredacted = session.serialize

    def serialize(message: dict[str, Any], *more: Any, **options: Any) -> Any:  # as jupyter_client has it
        if message["header"]["msg_type"] in SHOWN_MESSAGES:
            message = {**message, "content": redact_values(message["content"])}
        return session.serialize_unredacted(message, *more, **options)

    session.serialize = serialize
