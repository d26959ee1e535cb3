"""What is nobody else's business is masked in all that the lab shows, so that notebooks and errors can be passed on.

That is: account ids, the ids of access keys, users and roles, secret keys and session tokens, the names in ARNs of
users and of sessions (with IAM Identity Center, a session's is an e-mail address), and e-mail addresses.
"""

import re
import sys
from urllib.parse import quote

REDACTED = "·" * 12

# Of a match, what is named `kept` stays.
PRIVATE = [
    re.compile(pattern)
    for pattern in (
        r"(?P<kept>(?i:secret_?access_?key|session_?token|security[_\-]?token)\W{1,8})[A-Za-z0-9/+=%]{30,}",
        # Names may have a path before them. https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
        r"(?P<kept>arn:[\w\-]+:(?:iam|sts)::[^:\s]*:(?:user/|federated-user/|assumed-role/[\w+=,.@\-]+/))"
        r"[\w+=,.@/\-]*[\w+=@\-]",
        # Of access keys, users and roles; a role's, with the name of a session.
        r"(?<![A-Za-z0-9])(?:AKIA|ASIA|AIDA|AROA)[A-Z0-9]{16,}(?::[\w+=,.@\-]+)?(?![A-Za-z0-9])",
        # E-mail addresses, also in a URL. No version of a package, react@19.2.0-beta.x.
        r"(?<![\w.+\-])[\w.+\-]{1,64}(?:@|%40)(?!\d+\.\d)(?:[A-Za-z0-9\-]{1,63}\.)+[A-Za-z]{2,24}(?!\w)",
        # `aws configure sso` names a profile after its account: AdministratorAccess-123456789012.
        r"(?P<kept>(?i:profile)\W{1,8}[\w.+\-]*?)(?<!\d)\d{12}(?!\d)",
        # An account: 12 digits, alone. No part of a number, of a UUID, of a digest, or of a name: see `add_secrets`.
        r"(?<![\w.\-])\d{12}(?![\w\-]|\.\d)",
    )
]
# What a terminal takes for a colour, or to clear a line: control sequences, as ECMA-48, section 5.4, has them.
SEQUENCES = re.compile(r"(\x1b\[[0-?]*[ -/]*[@-~])")

MIN_SECRET = 12  # characters: a shorter one is nobody's, but a test's, and may be a word
SHOWN = frozenset({"stream", "display_data", "update_display_data", "execute_result", "error", "execute_reply"})

_secrets: set[str] = set()


def add_secrets(*values):
    """Mask these texts, too, wherever they stand: an account id, a secret key, a session token. None is passed over."""
    for value in values:
        if value and len(value) >= MIN_SECRET:
            if value.isdecimal():  # within a name, too; the local cloud's account, all zeros, is no part of a number
                _secrets.add(rf"(?<![\d.]){value}(?!\d)")
            else:
                _secrets.update({re.escape(value), re.escape(quote(value, safe=""))})


def add_session_secrets(session):
    """Mask the credentials with which the boto3 `session` signs, from the first request on; renewed ones, too."""

    def learn(**event):
        if credentials := session.get_credentials():
            add_secrets(*credentials.get_frozen_credentials())

    session.events.register("before-sign", learn)


def redact(text):
    """`text` with dots in place of what is private. Masking twice is the same as once."""
    parts = SEQUENCES.split(text)  # every second one is a sequence, such as a traceback's colours: no part of a word
    parts[::2] = map(_redact, parts[::2])
    return "".join(parts)


def _redact(text):
    if _secrets:
        text = re.sub("|".join(sorted(_secrets)), REDACTED, text)
    for pattern in PRIVATE:
        text = pattern.sub(lambda found: found.groupdict().get("kept", "") + REDACTED, text)
    return text


def redact_values(value):
    """A copy of `value`, JSON as Python has it, whose texts are masked. Pictures and keys stay as they are."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: item if str(key).startswith("image/") else redact_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact_values(item) for item in value]
    return value


def redact_notebook(notebook):
    """Mask a notebook's sources and outputs, in place; the notebook."""
    for cell in notebook.cells:
        cell.source = redact(cell.source)
        for output in cell.get("outputs", []):
            output.update(redact_values(output))
    return notebook


def redact_kernel_output():
    """In a Jupyter kernel, mask all that its cells show from now on: texts, tables and errors. Elsewhere, nothing.

    All of it leaves the kernel as messages of one session. IPython's own hooks would be four, and none is for errors.
    """
    ipython = sys.modules.get("IPython")
    kernel = getattr(ipython.get_ipython(), "kernel", None) if ipython else None
    if kernel is None or hasattr(kernel.session, "serialize_unredacted"):
        return
    session = kernel.session
    session.serialize_unredacted = session.serialize

    def serialize(message, *more, **options):
        if message["header"]["msg_type"] in SHOWN:
            message = {**message, "content": redact_values(message["content"])}
        return session.serialize_unredacted(message, *more, **options)

    session.serialize = serialize
