"""Writes down which permissions a person's calls need: a line of JSON for each action on each resource."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from ministack.core import iam_evaluator

Record: TypeAlias = Callable[[str, str, bool], None]
"""`record(action, resource, allowed)`."""


def permission_recorder(file: str | None) -> Record:
    """A Record that adds to a file what is not in it yet.

    The emulator's own questions to the person's policy are recorded from now on, too. Without a file nothing is.
    """
    if not file:
        return lambda action, resource, allowed: None
    path, recorded = Path(file), set[tuple[str, str, bool]]()

    def record(action: str, resource: str, allowed: bool) -> None:
        if (action, resource, allowed) not in recorded:
            recorded.add((action, resource, allowed))
            with path.open("a") as lines:
                lines.write(json.dumps({"action": action, "resource": resource, "allowed": allowed}) + "\n")

    enforce = iam_evaluator.enforce

    def enforce_and_record(
        access_key_id: str,
        iam_action: str,
        service: str,
        region: str,
        resource_arn: str = "*",
        service_context: dict[str, Any] | None = None,
    ) -> Any:
        denied = enforce(access_key_id, iam_action, service, region, resource_arn, service_context)
        # A role's key begins with ASIA. An AuthError is about the key, and no answer of the policy's.
        if access_key_id.startswith("AKIA") and not isinstance(denied, iam_evaluator.AuthError):
            record(iam_action, resource_arn, denied is None)
        return denied

    iam_evaluator.enforce = enforce_and_record
    return record
