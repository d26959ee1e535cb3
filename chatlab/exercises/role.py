"""The exercises of notebook 02: what a report needs, a Deny that wins, and how IAM decides."""

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase

from chatlab.exercises.answer import Answer, forgiving, not_yet, right
from chatlab.lab import Lab

ALLOWED, IMPLICIT, EXPLICIT = "allowed", "implicitDeny", "explicitDeny"

Statement = Mapping[str, str | Sequence[str]]
"""Effect, Action and Resource, as in a policy's document; Action and Resource may be a text or a list."""


def decide(statements: Sequence[Statement], action: str, resource: str) -> str:
    """What IAM decides by statements without conditions: what its simulator calls EvalDecision.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_AccessPolicyLanguage_Interplay.html
    """

    def fits(patterns: str | Sequence[str], name: str) -> bool:
        listed = [patterns] if isinstance(patterns, str) else patterns
        return any(fnmatchcase(name, pattern) for pattern in listed)

    effects = {
        statement["Effect"]
        for statement in statements
        if fits(statement["Action"], action) and fits(statement["Resource"], resource)
    }
    return EXPLICIT if "Deny" in effects else ALLOWED if "Allow" in effects else IMPLICIT


@forgiving
def check_report(lab: Lab, statement: Statement) -> Answer:
    """A statement for a function that counts who is connected, and does nothing else."""
    table = lab.arn("dynamodb", f"table/{lab.table}")
    if decide([statement], "dynamodb:Scan", table) != ALLOWED:
        return not_yet("to count the items it has to read them, with dynamodb:Scan on this table.")
    for action in ("PutItem", "UpdateItem", "DeleteItem", "DeleteTable", "UpdateTimeToLive"):
        if decide([statement], f"dynamodb:{action}", table) != IMPLICIT:
            return not_yet(f"it may also do dynamodb:{action}, which a report does not need.")
    if decide([statement], "dynamodb:Scan", lab.arn("dynamodb", "table/somebody-elses")) != IMPLICIT:
        return not_yet("it may also read the tables of others: name this one as the Resource.")
    return right("one action on one table. A mistake in that function can do no more than read who is connected.")


@forgiving
def check_guard(lab: Lab, guard: Statement) -> Answer:
    """A statement that keeps the table, whatever other policies allow, and forbids nothing else."""
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    table = lab.arn("dynamodb", f"table/{lab.table}")
    decision = decide([everything, guard], "dynamodb:DeleteTable", table)
    if decision != EXPLICIT:
        return not_yet(f"beside a policy that allows everything, DeleteTable on this table is still {decision}.")
    for action, resource in (
        ("dynamodb:DeleteItem", table),
        ("dynamodb:Scan", table),
        ("dynamodb:DeleteTable", lab.arn("dynamodb", "table/somebody-elses")),
        ("lambda:InvokeFunction", lab.arn("lambda", f"function:{lab.functions['default']}")),
    ):
        if decide([everything, guard], action, resource) != ALLOWED:
            return not_yet(f"it forbids {action} on {resource.rpartition(':')[2]}, too.")
    return right("a Deny wins over every Allow, in whichever policy either of them is.")


@forgiving
def check_decide(lab: Lab, decides: Callable[[Sequence[Statement], str, str], object]) -> Answer:
    """IAM's own decision, for statements whose Action and Resource are lists."""
    put_one = {"Effect": "Allow", "Action": ["dynamodb:PutItem"], "Resource": ["table/chat"]}
    all_tables = {"Effect": "Allow", "Action": ["dynamodb:*"], "Resource": ["table/*"]}
    keep_chat = {"Effect": "Deny", "Action": ["dynamodb:Delete*"], "Resource": ["table/chat"]}
    questions: list[tuple[str, list[Statement], str, str]] = [
        ("no statement at all", [], "dynamodb:PutItem", "table/chat"),
        ("the very action and thing", [put_one], "dynamodb:PutItem", "table/chat"),
        ("another action", [put_one], "dynamodb:DeleteItem", "table/chat"),
        ("another table", [put_one], "dynamodb:PutItem", "table/others"),
        ("a star in both", [all_tables], "dynamodb:Scan", "table/others"),
        ("a Deny behind an Allow", [all_tables, keep_chat], "dynamodb:DeleteTable", "table/chat"),
        ("a Deny before an Allow", [keep_chat, all_tables], "dynamodb:DeleteItem", "table/chat"),
        ("a Deny of something else", [keep_chat, all_tables], "dynamodb:DeleteTable", "table/others"),
        ("a Deny and nothing else", [keep_chat], "dynamodb:PutItem", "table/chat"),
    ]
    for what, statements, action, resource in questions:
        expected, found = decide(statements, action, resource), decides(statements, action, resource)
        if found != expected:
            return not_yet(f"{what}: {action} on {resource} is {expected}, and yours says {found!r}.")
    return right("this is IAM's whole logic but for conditions, boundaries, and the policies of organisations.")
