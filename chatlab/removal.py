"""Removing thing after thing: busy ones are asked again, gone ones are gone, and an error is no reason to stop."""

import time
from contextlib import contextmanager

from botocore.exceptions import ClientError

from chatlab.errors import NOT_FOUND, LabError

# What the services answer while a thing is being made or changed, or while something that was just removed still
# seems to hang on it. Throttling and failures of AWS's own are tried again by boto3 itself, before they are seen here.
BUSY = frozenset(
    {
        "ConcurrentModification",  # IAM
        "ConflictException",  # API Gateway, Lambda
        "DeleteConflict",  # IAM: a policy that was just detached
        "OperationAborted",  # S3
        "OperationAbortedException",  # CloudWatch Logs
        "ResourceConflictException",  # Lambda: the function is being changed
        "ResourceInUseException",  # DynamoDB: the table is being made or changed
        "TooManyRequestsException",  # API Gateway, when boto3 has given up
        "ThrottlingException",
    }
)
PATIENCE_S = 300
LONGEST_PAUSE_S = 8


class Attempts:
    """What could not be removed, and why, while all the rest is.

    with attempts("the role chat"):
        remove(iam.delete_role, RoleName="chat")
    """

    def __init__(self):
        self.failed = []
        """Dicts: `what`, and `why` it could not be done."""

    @contextmanager
    def __call__(self, what):
        """An error within is noted, and said, and does not stop what comes after. Ctrl-C does."""
        try:
            yield
        except Exception as error:
            why = str(error) if isinstance(error, LabError) else f"{type(error).__name__}: {error}"
            self.failed.append({"what": what, "why": why})
            print(f"NOT done, {what}: {why}")


def remove(operation, **arguments):
    """Call `operation` of a boto3 client, again as long as AWS says that the thing is busy; whether there was one.

    After PATIENCE_S seconds, raises the ClientError that says so; any other at once.
    """
    deadline, pause_s = time.monotonic() + PATIENCE_S, 0.5
    while True:
        try:
            operation(**arguments)
            return True
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in NOT_FOUND:
                return False
            if code not in BUSY or time.monotonic() + pause_s > deadline:
                raise
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
