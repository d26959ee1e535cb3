"""What you have to be allowed on AWS to run the lab, and nothing else: the policy, made of one list of statements.

A test records the calls of a whole run and compares them with that list.
"""

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from chatlab.paths import ROOT
from chatlab.permissions.statements import STATEMENTS, Statement
from chatlab.settings import DEFAULT_NAME

if TYPE_CHECKING:
    from chatlab.lab import Lab

POLICY = ROOT / "docs" / "aws-policy.json"
MAX_CHARACTERS = 6_144  # of a managed policy, without white space: IAM's quota


class Need(NamedTuple):
    """One action on one resource, as IAM's policy simulator asks for it."""

    action: str
    resource: str
    context: list[dict[str, Any]]
    """`ContextEntries` of the simulator: the keys that the action's condition asks for."""
    why: str


def policy(name: str = DEFAULT_NAME, partition: str = "aws") -> dict[str, Any]:
    """The policy for whoever runs a lab called `name`, in any Region and account of the partition."""
    names = {
        "partition": partition, "region": "*", "account_id": "*", "name": name, "role": f"{name}-lambda-*",
        "switch_role": f"{name}-switch-*",
        "bucket": f"{name}-page-*", "any": "*",
    }  # fmt: skip
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": statement.sid,
                "Effect": "Allow",
                "Action": list(statement.actions),
                "Resource": _filled(statement.resources, names),
            }
            | ({"Condition": _condition(statement, name)} if statement.condition else {})
            for statement in STATEMENTS
        ],
    }


def list_needs(lab: "Lab", with_switch: bool = True) -> list[Need]:
    """What you need for this lab, in the form in which the policy simulator can be asked."""
    names = {
        "partition": lab.partition, "region": lab.region, "account_id": lab.account_id, "name": lab.name,
        "role": lab.role, "switch_role": lab.switch_role, "bucket": lab.bucket, "any": "any",
    }  # fmt: skip
    return [
        Need(action, resource if resource == "*" else resource.replace("*", "any"), _context(statement, lab.name), why)
        for statement in STATEMENTS
        if with_switch or not statement.is_for_switch
        for resource in _filled(statement.resources, names)
        for action, why in statement.actions.items()
    ]


def to_text(document: dict[str, Any]) -> str:
    """A policy as text, one action a line."""
    return json.dumps(document, indent=2) + "\n"


def _filled(templates: list[str], names: dict[str, str]) -> list[str]:
    return [template.format(**names) for template in templates]


def _condition(statement: Statement, name: str) -> dict[str, dict[str, str]]:
    return {
        operator: {key: value.format(name=name) for key, value in keys.items()}
        for operator, keys in statement.condition.items()
    }


def _context(statement: Statement, name: str) -> list[dict[str, Any]]:
    return [
        {"ContextKeyName": key, "ContextKeyValues": [value], "ContextKeyType": "string"}
        for keys in _condition(statement, name).values()
        for key, value in keys.items()
    ]
