"""Writes down which permissions a person's calls have asked for: a line of JSON for each action on each resource."""

import json
from pathlib import Path

from ministack.core import iam_evaluator


def recording(file):
    """`record(action, resource, allowed)`, which adds to a file what is not in it yet.

    The emulator's own questions to the person's policy are recorded from now on, too. Without a file nothing is.
    """
    if not file:
        return lambda action, resource, allowed: None
    known = set()

    def record(action, resource, allowed):
        asked = {"action": action, "resource": resource, "allowed": allowed}
        if tuple(asked.values()) not in known:
            known.add(tuple(asked.values()))
            with Path(file).open("a") as lines:
                lines.write(json.dumps(asked) + "\n")

    enforce = iam_evaluator.enforce

    def recorded(access_key_id, iam_action, service, region, resource_arn="*", service_context=None):
        denied = enforce(access_key_id, iam_action, service, region, resource_arn, service_context)
        # A role's key begins with ASIA. An AuthError is about the key, and no answer of the policy's.
        if access_key_id.startswith("AKIA") and not isinstance(denied, iam_evaluator.AuthError):
            record(iam_action, resource_arn, denied is None)
        return denied

    iam_evaluator.enforce = recorded
    return record
