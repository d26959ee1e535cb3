"""The exceptions that you may meet, each a sentence that says what is wrong and what to do; and waiting for AWS."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

from botocore.exceptions import ClientError

from chatlab import record
from chatlab.privacy import redact

T = TypeVar("T")

NOT_FOUND = frozenset(
    "404 ClusterNotFoundException InvalidGroup.NotFound NoSuchBucket NoSuchEntity NoSuchTagSet NotFoundException"
    " ResourceNotFoundException".split()
)
"""Error codes for what does not exist. S3 answers 404 to a HEAD request, which has no body for a longer code."""
DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403"})
"""Error codes for what you may not do; the last two are EC2's, and S3's answer to a HEAD request."""


class LabError(Exception):
    """Something that you can put right. Whatever is private in its sentence is redacted."""

    def __init__(self, sentence: str) -> None:
        super().__init__(redact(sentence))

    def _render_traceback_(self) -> list[str]:
        # IPython asks an exception for this: in a notebook the sentence stands alone, without a traceback above it.
        return [f"{type(self).__name__}: {self}"]


class NotOurs(LabError):
    """Something that belongs to somebody else has the lab's name. It was left as it was."""


def error_code(error: ClientError) -> str:
    """The code of an AWS error, such as "AccessDenied"."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def _ignore(codes: frozenset[str]) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if error_code(error) not in codes:
            raise


def ignore_missing() -> AbstractContextManager[None]:
    """Ignore that AWS does not find something: its lists and tags lag behind, and still name what is deleted."""
    return _ignore(NOT_FOUND)


def ignore_denied() -> AbstractContextManager[None]:
    """Ignore that you may not ask something: its answer is not known. Who may not ask for a thing has not made it."""
    return _ignore(DENIED)


def poll(
    check: Callable[[], T | None],
    what: str,
    timeout_s: float = 60,
    every_s: float = 0.5,
    ignoring: type[Exception] | tuple[type[Exception], ...] = (),
) -> T:
    """Call `check()` until it returns something true, and return that. (Use a boto3 waiter where there is one.)

    An exception of a type in `ignoring` counts as "not yet". After `timeout_s` seconds raises LabError, which names
    `what` was waited for ("Waited 60 s for ...") and the last exception, if there was one.
    """
    began = time.monotonic()
    while True:
        last: Exception | None = None
        try:
            if result := check():
                record.wait(what, time.monotonic() - began, came=True)
                return result
        except ignoring as error:
            last = error
        if time.monotonic() + every_s > began + timeout_s:
            record.wait(what, time.monotonic() - began, came=False)
            raise LabError(f"Waited {timeout_s:g} s for {what}, in vain.{f' Last answer: {last}' if last else ''}")
        time.sleep(every_s)
