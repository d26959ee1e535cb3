"""Policies: what they allow, read without their conditions, and what AWS's linter has against them."""

import json
from fnmatch import fnmatchcase


def allows(statements, action, resource):
    """Whether a statement of a policy is about an action on a resource, whatever its condition says."""
    return any(
        action in statement["Action"] and any(fnmatchcase(resource, pattern) for pattern in statement["Resource"])
        for statement in statements
    )


def without(policy, *actions, resource="*"):
    """The policy, which also denies these actions, or denies them on this resource alone."""
    denied = {"Effect": "Deny", "Action": [*actions], "Resource": resource}
    return policy | {"Statement": [*policy["Statement"], denied]}


KINDS = {
    "identity": ("AWS::IAM::ManagedPolicy", "PolicyDocument"),
    "trust": ("AWS::IAM::Role", "AssumeRolePolicyDocument"),
    "bucket": ("AWS::S3::BucketPolicy", "PolicyDocument"),
}
"""What a policy is attached to: as CloudFormation calls it, and the policy in it."""

# Asked for by AWS, and not in its reference: see `chatlab.permissions`.
UNKNOWN = {"'tagresource' is not one of ['addcertificatetodomain'"}


def complaints(kind, document):
    """What cfn-lint, AWS's linter, has against a policy: actions that there are not, resources that an action does not
    take, elements that are missing. `kind` is one of KINDS. It reads CloudFormation's templates, so the policy is put
    into one."""
    from cfnlint import api  # here, since each process that collects the tests would load it: most of a second
    from cfnlint.config import ManualArgs

    resource, name = KINDS[kind]
    needed = {"Bucket": "a-bucket"} if kind == "bucket" else {}
    template = {"Resources": {"Policy": {"Type": resource, "Properties": needed | {name: document}}}}
    found = api.lint(json.dumps(template), config=ManualArgs(include_checks=["I3510"]))
    return [match.message for match in found if not any(match.message.startswith(known) for known in UNKNOWN)]
