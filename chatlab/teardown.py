"""Delete resource after resource: try again while one is busy, and go on after an error."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from botocore.exceptions import ClientError

from chatlab.errors import NOT_FOUND, LabError, error_code

# Error codes while a resource is being created or changed, or while something that was just deleted still seems to
# depend on it. boto3 itself retries throttled calls and AWS's own failures first.
BUSY = frozenset(
    {
        "ConcurrentModification",  # IAM
        "ConcurrentModificationException",  # AppSync
        "ConflictException",  # API Gateway, Lambda
        "ClusterContainsTasksException",  # ECS
        "DeleteConflict",  # IAM: a policy that was just detached
        "DependencyViolation",  # EC2: a network interface that is being removed has the security group
        "OperationAborted",  # S3
        "OperationAbortedException",  # CloudWatch Logs
        "ResourceConflictException",  # Lambda: the function is being changed
        "ResourceInUseException",  # DynamoDB: the table is being created or changed
        "TooManyRequestsException",  # API Gateway, when boto3 has given up
        "ThrottlingException",
    }
)
TIMEOUT_S = 300
MAX_PAUSE_S = 8


class Attempts:
    """Attempts to delete resources; an error in one of them does not stop the others.

    with attempts("delete the role chat"):
        remove(iam.delete_role, RoleName="chat")
    """

    def __init__(self) -> None:
        self.failed: list[dict[str, str]] = []
        """Dicts: `what` was attempted, and `why` it failed."""

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        """Note and print an error within, and go on. Ctrl-C is no such error."""
        try:
            yield
        except Exception as error:
            why = str(error) if isinstance(error, LabError) else f"{type(error).__name__}: {error}"
            self.failed.append({"what": what, "why": why})
            print(f"NOT done, {what}: {why}")


def remove(operation: Callable[..., object], **arguments: object) -> bool:
    """Call `operation` of a boto3 client, again while AWS says that the resource is busy.

    Returns whether there was anything to delete. Raises the ClientError of a busy resource after TIMEOUT_S seconds, and
    any other one at once.
    """
    deadline, pause_s = time.monotonic() + TIMEOUT_S, 0.5
    while True:
        try:
            operation(**arguments)
            return True
        except ClientError as error:
            code = error_code(error)
            if code in NOT_FOUND:
                return False
            if code not in BUSY or time.monotonic() + pause_s > deadline:
                raise
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, MAX_PAUSE_S)
