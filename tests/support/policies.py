"""Policies, read without their conditions."""

from fnmatch import fnmatchcase


def matches(statement, action, resource):
    """Whether a statement of a policy is about an action on a resource, whatever its condition says."""
    return action in statement["Action"] and any(fnmatchcase(resource, pattern) for pattern in statement["Resource"])


def allows(statements, action, resource):
    """Whether one of them is about it."""
    return any(matches(statement, action, resource) for statement in statements)
