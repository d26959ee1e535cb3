"""The exceptions that you may meet: a sentence that says what is wrong and what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import ClientError

from chatlab.privacy import redact

NOT_FOUND = frozenset(
    {"404", "NoSuchBucket", "NoSuchEntity", "NoSuchTagSet", "NotFoundException", "ResourceNotFoundException"}
)
"""Error codes of what does not exist. 404 is what S3 answers to a HEAD, which has no room for words."""


class LabError(Exception):
    """Something that you can put right. What is private in its sentence is redacted."""

    def __init__(self, sentence: str) -> None:
        super().__init__(redact(sentence))

    def _render_traceback_(self) -> list[str]:
        # IPython asks an exception for this: in a notebook the sentence stands alone, without a traceback above it.
        return [f"{type(self).__name__}: {self}"]


class NotOurs(LabError):
    """What has the lab's name belongs to somebody else, and was left as it was."""


@contextmanager
def ignore_missing() -> Iterator[None]:
    """Ignore that AWS does not find something within: its lists and tags lag behind, and still name what is deleted."""
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] not in NOT_FOUND:
            raise
