"""Checks before anything is created: would the lab work in this account, and is there what a notebook needs?

    checks = run_checks(lab)
    lab.show([check.row for check in checks])
    require_passed(checks)

The checks change nothing, and what you may not ask is "not checked". Nobody can know beforehand what session policies
and resource control policies forbid, since AWS's simulator ignores them, or whether a policy has conditions of its own.
"""

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from chatlab import cost, permissions
from chatlab.errors import DENIED, NOT_FOUND, LabError, error_code
from chatlab.lab import STAGE, Lab, Tags
from chatlab.limits import DEFAULT_CONCURRENCY, read_quotas
from chatlab.permissions import Need

OK, WARNING, NOT_CHECKED, STOP = "ok", "warning", "not checked", "stop"

# If an organisation forbids these, notebook 05 serves the page from this machine.
PUBLIC = frozenset({"s3:PutBucketPolicy", "s3:PutBucketPublicAccessBlock"})

_ADVICE = "Ask for the policy docs/aws-policy.json (another NAME's: python -m chatlab permissions NAME)."
_GLOBAL = frozenset({"iam", "budgets", "organizations", "pricing"})  # these services are in one Region of a partition
_LISTS = "docs/aws-policy.json says what each lab needs; docs/aws-policy-optional.json lets you ask."
# Why an action is not allowed; what begins as the first is not known for sure.
_UNSURE, _BY_ORGANISATION = " (it ", " (by your organisation)"


class Check(NamedTuple):
    """One row of the table."""

    check: str
    result: str
    """`OK`; `WARNING`, which you should know; `NOT_CHECKED`; or `STOP`: the lab can't be built."""
    found: str
    what_to_do: str = ""

    @property
    def row(self) -> dict[str, str]:
        """For `lab.show`."""
        return {"check": self.check, "": self.result, "found": self.found, "what to do": self.what_to_do}


def run_checks(lab: Lab, with_alarm: bool = False) -> list[Check]:
    """Run all checks; `with_alarm`: also whether you may make a budget."""
    return [
        check_identity(lab),
        *check_permissions(lab, with_alarm),
        *check_names(lab),
        check_public_access(lab),
        *check_quotas(lab),
        check_price(lab),
    ]


def require_passed(checks: list[Check]) -> None:
    """Raises LabError if the result of a check is `STOP`."""
    if failed := [check for check in checks if check.result == STOP]:
        reasons = "; ".join(f"{check.check}: {check.found}" for check in failed)
        raise LabError(f"The lab can't be built here, and nothing was made. {reasons}. {failed[0].what_to_do}")


# --- who you are ----------------------------------------------------------------------------------------------------


def check_identity(lab: Lab) -> Check:
    """Whose credentials these are."""
    arn = lab.client("sts").get_caller_identity()["Arn"]
    kind = arn.rpartition(":")[2].partition("/")[0]
    if kind == "root":
        return Check("identity", WARNING, "the root user", "Nobody should work as root: docs/aws.md shows other ways.")
    kinds = {"user": "a user", "assumed-role": "a session of a role", "federated-user": "a federated user"}
    return Check("identity", OK, kinds.get(kind, kind))


def principal(lab: Lab) -> str | None:
    """Your ARN for the policy simulator, or None: it does not accept root's and a federated user's.

    A session of a role is simulated as its role. The role's ARN has a path that the session's lacks, for example if IAM
    Identity Center created it: /aws-reserved/sso.amazonaws.com/…
    """
    arn: str = lab.client("sts").get_caller_identity()["Arn"]
    kind, *names = arn.rpartition(":")[2].split("/")
    if kind == "user":
        return arn
    if kind == "assumed-role":
        pages = lab.client("iam").get_paginator("list_roles").paginate()
        return next((role["Arn"] for page in pages for role in page["Roles"] if role["RoleName"] == names[0]), None)
    return None


# --- what you may do ------------------------------------------------------------------------------------------------


def check_permissions(lab: Lab, with_alarm: bool = False) -> list[Check]:
    """A check for each service: whether you may do there all that the lab needs."""
    unused = {permissions.HOURS: lab.options.hours is None, permissions.EMAIL: not with_alarm}
    needs = permissions.list_needs(lab, [loss for loss, is_unused in unused.items() if is_unused])
    needs = [need for need in needs if lab.options.public or need.action not in PUBLIC]
    try:
        arn = principal(lab)
        refused = _refused(lab, arn, needs) if arn else None
    except ClientError as error:
        if error_code(error) not in DENIED | {"NoSuchEntity"}:
            raise
        return [Check("permissions", NOT_CHECKED, "you may not ask (iam:SimulatePrincipalPolicy)", _LISTS)]
    if refused is None:
        found = "the policy simulator does not know you: root may do everything, a federated user what its policy says"
        return [Check("permissions", NOT_CHECKED, found)]
    services: dict[str, list[Need]] = {}
    for need in needs:
        services.setdefault(need.service, []).append(need)
    return [_check_service(service, needs, refused) for service, needs in services.items()]


def _check_service(service: str, needs: list[Need], refused: dict[Need, str]) -> Check:
    """The check of one service, where `refused` says why a need, of any service, is not allowed."""
    check = f"permissions: {service}"
    missing = {need: refused[need] for need in needs if need in refused}
    if not missing:
        actions = {need.action for need in needs}
        return Check(check, OK, f"all {len(actions)} actions" if len(actions) > 1 else "the one action")
    advice = _what_organisations_ask_for({need.action: why for need, why in missing.items()})
    certain = {need: why for need, why in missing.items() if not why.startswith(_UNSURE)}
    if not certain:
        return Check(check, NOT_CHECKED, f"not known: {_listed(missing)}", advice)
    stops = {
        need: why
        for need, why in certain.items()
        if not need.loses and not (need.action in PUBLIC and why == _BY_ORGANISATION)
    }
    if stops:
        return Check(check, STOP, f"not allowed: {_listed(stops)}", advice or _ADVICE)
    losses = sorted({need.loses for need in certain if need.loses})
    what_to_do = f"Without it, {'; '.join(losses)} (docs/aws-policy-optional.json)." if losses else ""
    return Check(check, WARNING, f"not allowed: {_listed(certain)}", f"{advice} {what_to_do}".strip())


def _what_organisations_ask_for(refused: dict[str, str]) -> str:
    """Which options may make allowed what an organisation, or a policy with a condition, refuses; "" if none."""
    if refused.get("iam:CreateRole", "").startswith((_BY_ORGANISATION, _UNSURE)):
        return "It may ask roles for BOUNDARY, ROLE_PATH or TAGS: docs/aws.md, section 5."
    if _BY_ORGANISATION in {refused.get(action) for action in PUBLIC}:
        return "With PUBLIC=no, this machine serves the page: docs/aws.md, section 5."
    return ""


def _listed(missing: dict[Need, str]) -> str:
    """The first few actions, and why each is not allowed."""
    actions = sorted({f"{need.action}{why}" for need, why in missing.items()})
    return ", ".join(actions[:4]) + (f" and {len(actions) - 4} more" if len(actions) > 4 else "")


def _refused(lab: Lab, principal_arn: str, needs: list[Need]) -> dict[Need, str]:
    """The needs that are not allowed, says the policy simulator, and why ("" if just no policy allows it)."""
    paginator = lab.client("iam").get_paginator("simulate_principal_policy")
    refused: dict[Need, str] = {}
    for (service, *_), group in groupby(needs, key=lambda need: (need.service, need.resource, need.context)):
        asked = {need.action.lower(): need for need in group}  # IAM's action names know no case
        calls_context = {"aws:RequestedRegion": _region_of(lab, service)}
        if lab.options.boundary:  # for policies that allow roles with this permissions boundary only
            calls_context["iam:PermissionsBoundary"] = lab.options.boundary
        for answer in _answers(paginator, list(asked.values()), principal_arn, calls_context):
            if answer["EvalDecision"] != "allowed":
                refused[asked[answer["EvalActionName"].lower()]] = answer.get("Why") or _why(answer)
    return refused


def _answers(
    paginator: Any, needs: list[Need], principal_arn: str, context: dict[str, str]
) -> Iterator[dict[str, Any]]:
    """The simulator's answers about needs of one service, with one resource and one context, to which `context` adds.

    It refuses a question about actions "which require different authorization information". Then each is asked alone.
    """
    question = {
        "PolicySourceArn": principal_arn,
        "ActionNames": [need.action for need in needs],
        "ResourceArns": [needs[0].resource],
        "ContextEntries": [
            {"ContextKeyName": key, "ContextKeyValues": [value], "ContextKeyType": "string"}
            for key, value in (dict(needs[0].context) | context).items()
        ],
    }
    try:
        pages = list(paginator.paginate(**question))
    except ClientError as error:
        if error_code(error) != "InvalidInput":
            raise
        if len(needs) == 1:
            yield {"EvalActionName": needs[0].action, "EvalDecision": "", "Why": f"{_UNSURE}can't be simulated)"}
        for need in needs if len(needs) > 1 else []:
            yield from _answers(paginator, [need], principal_arn, context)
    else:
        yield from (answer for page in pages for answer in page["EvaluationResults"])


def _region_of(lab: Lab, service: str) -> str:
    """The Region of a call, for policies that allow some Regions only."""
    first = {"aws": "us-east-1", "aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"}
    return first.get(lab.partition, lab.region) if service in _GLOBAL else lab.region


def _why(answer: dict[str, Any]) -> str:
    # Some of it is in a list of its own for each resource that was named:
    # https://docs.aws.amazon.com/IAM/latest/APIReference/API_EvaluationResult.html
    parts = [answer, *answer.get("ResourceSpecificResults", [])]
    if not answer.get("OrganizationsDecisionDetail", {}).get("AllowedByOrganizations", True):
        return _BY_ORGANISATION
    boundaries = [part.get("PermissionsBoundaryDecisionDetail", {}) for part in parts]
    if not all(boundary.get("AllowedByPermissionsBoundary", True) for boundary in boundaries):
        return " (by your permissions boundary)"
    if missing := sorted({key for part in parts for key in part.get("MissingContextValues", [])}):
        return f"{_UNSURE}depends on {', '.join(missing)})"  # what only a real call has, such as aws:SourceIp
    return ""


# --- what exists already --------------------------------------------------------------------------------------------


def check_names(lab: Lab) -> list[Check]:
    """Whether the lab's names are free, in use by the lab itself, or taken by somebody else."""
    own = theirs = 0
    checks: list[Check] = []
    for kind, name, tags in _named(lab):
        found, what_to_do = "it is there, and is not this lab's", "Choose another NAME in the first cell."
        try:
            its = tags()
            if lab.owns(its):
                own += 1
                theirs += lab.is_colleagues(its)
                continue
            if lab.is_colleagues(its):
                found = "it is a colleague's lab"
                what_to_do = f"Choose another NAME, or give CONFIRM={lab.name} to work on it: docs/aws.md, section 5."
        except ClientError as error:
            code = error_code(error)
            if code in DENIED:  # the notebooks ask the same
                found, what_to_do = "you may not ask whose it is", _ADVICE
            elif code != "NoSuchTagSet":  # a bucket without tags is there
                if code not in NOT_FOUND:
                    raise
                continue
        checks.append(Check(f"name: {kind} {name}", STOP, found, what_to_do))
    if theirs:
        sentence = f"{theirs} things are a colleague's"
        checks.append(Check("names", WARNING, sentence, "You gave CONFIRM: the notebooks change them."))
    elif not checks:
        checks.append(Check("names", OK, f"{own} things are this lab's own already" if own else "all free"))
    return checks


def require_parts(lab: Lab, *parts: str) -> None:
    """Raises LabError, with the notebook to run, if one of `parts` (table, role, functions, stage) does not exist.

    Raises NotOurs if something that has the lab's name is not the lab's.
    """
    for part in parts:
        try:
            if part == "stage":  # of the API that was found by its tag, and what is in an API of ours is ours
                lab.client("apigatewayv2").get_stage(ApiId=lab.require_api(), StageName=STAGE)
            for kind, name, tags in _named(lab):
                if part in (kind, f"{kind}s"):
                    lab.require_own(f"a {kind} {name}", tags())
        except ClientError as error:
            if error_code(error) not in NOT_FOUND:
                raise
            functions = ", ".join(lab.functions.values())
            missing, notebook = {
                "table": (f"There is no table {lab.table}", "01_dynamodb_table"),
                "role": (f"There is no role {lab.role}", "02_iam_role"),
                "functions": (f"Not all of the functions {functions} are there", "03_lambda_functions"),
                "stage": (f"There is no stage {STAGE}", "04_websocket_api"),
            }[part]
            raise LabError(f"{missing} yet: run notebook {notebook} first.") from None


def _named(lab: Lab) -> Iterator[tuple[str, str, Callable[[], Tags]]]:
    """What has, or will have, one of the lab's names: its kind, the name, and a function that asks for its tags."""
    dynamodb, iam, functions, logs, s3 = map(lab.client, ("dynamodb", "iam", "lambda", "logs", "s3"))

    def answer(key: str, ask: Callable[..., dict[str, Any]], **arguments: str) -> Callable[[], Tags]:
        return lambda: ask(**arguments).get(key, {})

    def tags_of_the_table() -> Tags:
        table = dynamodb.describe_table(TableName=lab.table)["Table"]
        tags: list[dict[str, str]] = dynamodb.list_tags_of_resource(ResourceArn=table["TableArn"])["Tags"]
        return tags

    yield "table", lab.table, tags_of_the_table
    yield "role", lab.role, answer("Tags", iam.list_role_tags, RoleName=lab.role)
    for name in lab.functions.values():
        yield "function", name, answer("Tags", functions.list_tags, Resource=lab.arn("lambda", f"function:{name}"))
    for name in lab.log_groups.values():
        group = lab.arn("logs", f"log-group:{name}")
        yield "log group", name, answer("tags", logs.list_tags_for_resource, resourceArn=group)
    yield "bucket", lab.bucket, answer("TagSet", s3.get_bucket_tagging, Bucket=lab.bucket)


# --- may a bucket be public? ----------------------------------------------------------------------------------------
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html

BY_ACCOUNT = (
    "Your account blocks public access to all of its buckets. Its administrators can allow bucket policies to open "
    "one: in the console, S3, Block Public Access settings for this account, the last two boxes."
)
BY_ORGANISATION = (
    "Your organisation forbids public buckets, by an S3 policy or a service control policy. Its administrators can "
    "exempt an account."
)
BY_EITHER = (
    f"Your account, or the organisation that it belongs to, forbids public buckets. {BY_ACCOUNT.partition('. ')[2]}"
)


def check_public_access(lab: Lab) -> Check:
    """Whether the account lets a bucket be public, as the page's is. Notebook 05 changes the bucket's own block."""
    check = "public page"
    if not lab.options.public:
        return Check(check, OK, "PUBLIC is no: this machine serves the page")
    try:
        sentence = ask_why_forbidden(lab)
    except ClientError as error:
        return Check(check, NOT_CHECKED, f"the account does not say ({error_code(error)})")
    except (LabError, BotoCoreError):
        return Check(check, NOT_CHECKED, "the account does not say (no answer)")
    if sentence:
        found, _, what_to_do = sentence.partition(". ")
        return Check(check, WARNING, f"{found}.", f"{what_to_do} Until then the page is served from this machine.")
    return Check(check, OK, "the account does not forbid it")


def why_forbidden(lab: Lab) -> str:
    """The sentence that says who forbids a public bucket, and what to do; "" if nobody does, or if you may not ask."""
    if not lab.options.public:
        return "PUBLIC is no, so the bucket stays private."
    try:
        return ask_why_forbidden(lab)
    except ClientError:
        return ""


def ask_why_forbidden(lab: Lab) -> str:
    """The same, but raises ClientError if you may not ask for the account's settings."""
    try:
        answer = lab.client("s3control").get_public_access_block(AccountId=lab.account_id)
    except ClientError as error:
        if error_code(error) != "NoSuchPublicAccessBlockConfiguration":
            raise
        return ""
    # What is in force: an organisation's settings are in here, too.
    block = answer["PublicAccessBlockConfiguration"]
    if not block.get("BlockPublicPolicy") and not block.get("RestrictPublicBuckets"):
        return ""
    try:
        policy = lab.client("organizations").describe_effective_policy(PolicyType="S3_POLICY")["EffectivePolicy"]
    except ClientError as error:
        no_policy = ("AWSOrganizationsNotInUseException", "EffectivePolicyNotFoundException")
        return BY_ACCOUNT if error_code(error) in no_policy else BY_EITHER
    return BY_ORGANISATION if '"all"' in policy["PolicyContent"] else BY_ACCOUNT


def why_refused(refusal: str) -> str:
    """The same sentence if S3 refuses a public policy for that reason; "" if it refuses for another one."""
    if "service control policy" in refusal or "resource control policy" in refusal:
        return BY_ORGANISATION
    return BY_EITHER if "BlockPublicPolicy" in refusal else ""


# --- how much -------------------------------------------------------------------------------------------------------


def check_quotas(lab: Lab) -> Iterator[Check]:
    """Whether the account's quotas are enough for the lab."""
    found = read_quotas(lab)
    for row, name in zip(found.rows, ("requests_per_s", "connects_per_s", "concurrency"), strict=True):
        check, value = f"quota: {row['quota']}", f"{row['value']} ({row['from']})"
        if not found.is_live(name):
            yield Check(check, NOT_CHECKED, value)
        elif name == "concurrency" and getattr(found, name) <= DEFAULT_CONCURRENCY:
            advice = "Enough, and slow: the load test connects at the pace that this allows. Service Quotas raises it."
            yield Check(check, WARNING, value, advice)
        else:
            yield Check(check, OK, value)


def check_price(lab: Lab) -> Check:
    """What the load test of notebook 06 costs."""
    prices = cost.read_prices(lab)
    dollars = cost.estimate(**cost.LOAD_TEST, prices=prices).dollars
    where = "nothing here; on AWS " if lab.target == "local" else ""
    return Check("price of the load test", OK, f"{where}about {dollars:.3f} US dollars ({prices})")
