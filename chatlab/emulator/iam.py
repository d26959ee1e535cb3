"""IAM, where MiniStack leaves something out: the person's access key, and permissions that AWS asks for, too.

MiniStack asks for the action that a call is named after. AWS asks for more where a call hands on a role, or sets tags;
its reference calls these dependent actions. What is played beside MiniStack (quotas, prices) asks for nothing itself.
And for some calls MiniStack cannot tell the action, the resource or its tags; they are filled in here.
https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
"""

import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import unquote
from xml.etree import ElementTree

import httpx
from ministack.app import app as ministack_app
from ministack.core import iam_actions, iam_evaluator, lambda_runtime
from ministack.services import apigateway, cloudwatch_logs, ec2, iam, lambda_svc, tagging

from chatlab.emulator.account import PUBLIC_ACCESS_BLOCK
from chatlab.emulator.calls import ApiCall, App, Message, Receive, Response, Scope, Send, parse_call, read_body, replay

USER = "learner"
Policy: TypeAlias = dict[str, Any]
ADMINISTRATOR: Policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}

Record: TypeAlias = Callable[[str, str, bool], None]  # `record(action, resource, allowed)`

FUNCTIONS = "/2015-03-31/functions"
ACTION_PREFIXES = {
    "monitoring": "cloudwatch", "organizations": "organizations", "pricing": "pricing",
    "servicequotas": "servicequotas",
}  # fmt: skip
"""What the actions of services begin with that are played beside MiniStack."""
# https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsbudgetservice.html
BUDGETS_ACTIONS = {f"budgets:{verb}Budget": "budgets:ModifyBudget" for verb in ("Create", "Update", "Delete")} | {
    "budgets:DescribeBudget": "budgets:ViewBudget", "budgets:DescribeBudgets": "budgets:ViewBudget",
}  # fmt: skip
CONTEXT_KEY_NAME = re.compile(r"ContextEntries\.member\.(\d+)\.ContextKeyName")
ANY_GROUP = "security-group/*"
SIMULATE = "SimulatePrincipalPolicy"
TO_LAMBDA, TO_SCHEDULER = ({"iam:passedtoservice": f"{each}.amazonaws.com"} for each in ("lambda", "scheduler"))
ECS_RESOURCES = {
    "CreateCluster": ("cluster", "clusterName"), "DeleteCluster": ("cluster", "cluster"),
    "DescribeClusters": ("cluster", "clusters"), "RegisterTaskDefinition": ("task-definition", "family"),
    "RunTask": ("task-definition", "taskDefinition"), "DeleteTaskDefinitions": ("task-definition", "taskDefinitions"),
    "StopTask": ("task", "task"), "DescribeTasks": ("task", "tasks"),
}  # fmt: skip
"""Of ECS's actions the kind of resource, and where the call names it."""

# MiniStack's own functions, which those below call.
_extract_resource_arn = iam_actions.extract_resource_arn
_extract_iam_action = iam_actions.extract_iam_action
_simulate = iam._IAM_HANDLERS[SIMULATE]
_evaluate = iam_evaluator.evaluate
_execution_credentials = lambda_runtime.execution_credentials


def role_may(role_arn: str, action: str, resource_arn: str, region: str) -> bool:
    """Whether the policies of a role allow it this action on this resource, for what MiniStack does itself."""
    account_id, role = role_arn.split(":")[4], role_arn.rpartition("/")[2]
    context = iam_evaluator.EvalContext(role_arn, "AssumedRole", account_id, action, resource_arn, region)
    decision: str = iam_evaluator.evaluate(context, iam_evaluator._gather_role_policies(role, account_id)).decision
    return decision == "Allow"


def correct() -> None:
    """From now on, in this process, MiniStack does as IAM does, and nobody can guess a function's access key."""
    # for `aws:ResourceTag`
    tagging._RESOURCE_TAG_COLLECTORS |= {
        "apigateway": _tags_of_apis, "logs": _tags_of_log_groups, "scheduler": tagging._collect_scheduler,
        "ec2": _tags_of_security_groups, "ecs": tagging._collect_ecs,
    }  # fmt: skip
    tagging._COLLECTORS["ec2"] = _tags_of_security_groups
    iam_actions.extract_resource_arn = extract_resource_arn
    iam_actions.extract_iam_action = extract_iam_action
    iam._IAM_HANDLERS[SIMULATE] = simulate_with_conditions
    lambda_runtime.execution_credentials = lambda_svc.execution_credentials = random_credentials


# --- access keys -----------------------------------------------------------------------------------------------------


def random_credentials(config: dict[str, Any]) -> Any:
    """MiniStack's credentials of a function, made random: it computes the keys from names that anybody may know.

    It takes the name of the function and that of its role, which is after the last slash of the role's ARN. So a
    random path makes the keys random.
    """
    path, _, role = config["Role"].rpartition("/")
    return _execution_credentials({**config, "Role": f"{path}/{secrets.token_hex(32)}/{role}"})


def with_access_key(key_file: Path, policy_file: str | None = None) -> App:
    """MiniStack, which writes the person's access key into `key_file` before its server takes the first connection.

    Its user is an administrator, or has the policy in `policy_file` and nothing else.
    """
    policy: Policy = json.loads(Path(policy_file).read_text()) if policy_file else ADMINISTRATOR

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_after_saving_the_key(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                _save(await _create_access_key(policy), key_file)
            await send(message)

        await ministack_app(scope, receive, send_after_saving_the_key if scope["type"] == "lifespan" else send)

    return app


async def _create_access_key(policy: Policy) -> dict[str, str]:
    """Make an IAM user with this policy, and a key for it, in the words of CreateAccessKey.

    This calls MiniStack within this process, as its root user.
    """
    root = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=0"
    transport = httpx.ASGITransport(ministack_app)
    headers = {"Authorization": root}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as client:

        async def call(action: str, **parameters: str) -> ElementTree.Element:
            response = await client.post("/", data={"Version": "2010-05-08", "Action": action} | parameters)
            return ElementTree.fromstring(response.raise_for_status().content)

        await call("CreateUser", UserName=USER)
        # A managed policy, as a person would attach it: one within a user holds 2,048 characters.
        created = await call("CreatePolicy", PolicyName=f"{USER}s-policy", PolicyDocument=json.dumps(policy))
        await call("AttachUserPolicy", UserName=USER, PolicyArn=created.findtext(".//{*}Arn", ""))
        key = await call("CreateAccessKey", UserName=USER)
    return {name: key.findtext(f".//{{*}}{name}", "") for name in ("AccessKeyId", "SecretAccessKey")}


def _save(key: dict[str, str], path: Path) -> None:
    """Write the key where only this user can read it. The file appears at once and whole."""
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(key, file)
    draft.replace(path)


# --- permissions -----------------------------------------------------------------------------------------------------


class Permission(NamedTuple):
    """What a policy has to allow."""

    action: str
    resource: str
    keys: Mapping[str, str] = MappingProxyType({})  # what a condition may ask about, in lower case


def dependent_permissions(call: ApiCall, account_id: str) -> list[Permission]:
    """What AWS asks for before it does the call, and MiniStack does not."""
    try:
        body = json.loads(call.body) if call.body[:1] == b"{" else {}
    except ValueError:
        body = {}
    regional, of_apis = f"{call.region}:{account_id}", f"arn:aws:apigateway:{call.region}:"
    method, _, path = call.operation.partition(" ")
    match call.service, call.operation:
        case "dynamodb", "CreateTable" if body.get("Tags"):
            return [Permission("dynamodb:TagResource", f"arn:aws:dynamodb:{regional}:table/{body['TableName']}")]
        case "iam", "CreateRole" if "Tags.member.1.Key" in call.parameters:
            return [Permission("iam:TagRole", f"arn:aws:iam::{account_id}:role/{call.parameters['RoleName']}")]
        case "logs", "CreateLogGroup" if body.get("tags"):
            return [Permission("logs:TagResource", f"arn:aws:logs:{regional}:log-group:{body['logGroupName']}")]
        case "lambda", "GET /2016-08-19/account-settings" | "GET /2016-08-19/account-settings/":
            return [Permission("lambda:GetAccountSettings", "*")]
        case "lambda", _ if path.startswith(FUNCTIONS) and method in ("POST", "PUT"):
            name = body.get("FunctionName") or path.removeprefix(f"{FUNCTIONS}/").partition("/")[0]
            passed = [Permission("iam:PassRole", body["Role"], TO_LAMBDA)] if body.get("Role") else []
            tagged = [Permission("lambda:TagResource", f"arn:aws:lambda:{regional}:function:{name}")]
            return passed + (tagged if body.get("Tags") else [])
        case "apigateway", "GET /account":
            return [Permission("apigateway:GET", f"{of_apis}:/account")]
        case "apigateway", _ if method == "POST" and path.endswith("/stages") and body.get("tags"):
            return [Permission("apigateway:TagResource", f"{of_apis}:{path.removeprefix('/v2')}")]
        case "scheduler", _ if method == "POST" and path.startswith("/schedule-groups/") and body.get("Tags"):
            return [Permission("scheduler:TagResource", f"arn:aws:scheduler:{regional}:schedule-group/{_last(path)}")]
        case "scheduler", _ if method == "DELETE" and path.startswith("/schedule-groups/"):
            return [Permission("scheduler:DeleteSchedule", f"arn:aws:scheduler:{regional}:schedule/{_last(path)}/*")]
        case "scheduler", _ if method in ("POST", "PUT") and path.startswith("/schedules/"):
            return [Permission("iam:PassRole", body["Target"]["RoleArn"], TO_SCHEDULER)]
        case "appsync", _ if method == "POST" and path.startswith("/v2/apis") and body.get("tags"):
            return [Permission("appsync:TagResource", f"arn:aws:appsync:{regional}:apis/*")]
        case "budgets", "CreateBudget" if body.get("ResourceTags"):
            name = body["Budget"]["BudgetName"]
            return [Permission("budgets:TagResource", f"arn:aws:budgets::{account_id}:budget/{name}")]
        case "ecs", "CreateCluster":
            service_role = "aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS"
            arn, keys = f"arn:aws:iam::{account_id}:role/{service_role}", {"iam:awsservicename": "ecs.amazonaws.com"}
            tagged = [Permission("ecs:TagResource", f"arn:aws:ecs:{regional}:cluster/{body['clusterName']}")]
            return [Permission("iam:CreateServiceLinkedRole", arn, keys), *(tagged if body.get("tags") else [])]
        case "ecs", "RegisterTaskDefinition" if body.get("tags"):
            return [Permission("ecs:TagResource", f"arn:aws:ecs:{regional}:task-definition/{body['family']}:*")]
        case "ecs", "RunTask" if body.get("tags"):
            return [Permission("ecs:TagResource", f"arn:aws:ecs:{regional}:task/{_last(body['cluster'])}/*")]
        case "ec2", "CreateSecurityGroup":
            vpc, groups = (f"arn:aws:ec2:{regional}:{each}" for each in (f"vpc/{call.parameters['VpcId']}", ANY_GROUP))
            keys = {"ec2:createaction": "CreateSecurityGroup"}
            tagged = [Permission("ec2:CreateTags", groups, keys)] if b"TagSpecification" in call.body else []
            return [Permission("ec2:CreateSecurityGroup", vpc), *tagged]
        case "s3", _ if call.operation == f"GET {PUBLIC_ACCESS_BLOCK}":
            return [Permission("s3:GetAccountPublicAccessBlock", "*")]
        case "s3", _ if method == "PUT" and b"<CreateBucketConfiguration" in call.body and b"<Tag>" in call.body:
            bucket = path.strip("/") or call.host.partition(".")[0]
            return [Permission("s3:TagResource", f"arn:aws:s3:::{bucket}")]
    if call.service in ACTION_PREFIXES:
        return [Permission(f"{ACTION_PREFIXES[call.service]}:{call.operation.rpartition('/')[2]}", "*")]
    return []


def _last(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def with_authorization(app: App, record_file: str | None) -> App:
    """The application, which refuses what a person's policy does not allow on AWS. Roles are MiniStack's business.

    Which permissions the person's calls need is added to `record_file`, if it is not there yet: a line of JSON for each
    action on each resource.
    """
    record = _recorder(Path(record_file)) if record_file else lambda action, resource, allowed: None

    async def authorize(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not parse_call(scope, b"").access_key_id.startswith("AKIA"):
            await app(scope, receive, send)
            return
        body = await read_body(receive)
        call = parse_call(scope, body)
        account_id: str | None = iam_evaluator.find_iam_access_key_account(call.access_key_id)
        for permission in dependent_permissions(call, account_id) if account_id else []:
            refusal = _refusal(call, account_id, permission)
            record(permission.action, permission.resource, not refusal)
            if refusal:
                await refusal.send(send)
                return
        await app(scope, replay(body, receive), send)

    return authorize


def _recorder(file: Path) -> Record:
    """A Record that adds to the file what is not there yet. From now on MiniStack's own questions are recorded, too."""
    recorded = set[tuple[str, str, bool]]()

    def record(action: str, resource: str, allowed: bool) -> None:
        if (action, resource, allowed) not in recorded:
            recorded.add((action, resource, allowed))
            with file.open("a") as lines:
                lines.write(json.dumps({"action": action, "resource": resource, "allowed": allowed}) + "\n")

    enforce = iam_evaluator.enforce

    def enforce_and_record(
        access_key_id: str, iam_action: str, service: str, region: str, resource_arn: str = "*", **context: Any
    ) -> Any:
        denied = enforce(access_key_id, iam_action, service, region, resource_arn, **context)
        # A role's key begins with ASIA. An AuthError is about the key, and no answer of the policy's.
        if access_key_id.startswith("AKIA") and not isinstance(denied, iam_evaluator.AuthError):
            record(iam_action, resource_arn, denied is None)
        return denied

    iam_evaluator.enforce = enforce_and_record
    return record


def _refusal(call: ApiCall, account_id: str | None, permission: Permission) -> Response | None:
    """The response that refuses the call; None if the policy of the person who signed it has the permission."""
    person = iam_evaluator.resolve_principal(call.access_key_id, account_id)
    if isinstance(person, iam_evaluator.AuthError) or person.policies is None:
        return None  # MiniStack says what is wrong with the key
    context = iam_evaluator.EvalContext(
        principal_arn=person.arn,
        principal_type=person.type,
        principal_account=person.account,
        principal_keys=person.keys,
        action=permission.action,
        resource_arn=permission.resource,
        region=call.region,
        service_context=dict(permission.keys),
    )
    if iam_evaluator.evaluate(context, person.policies, *person.limits).decision == "Allow":
        return None
    message = iam_actions.identity_denial_message(permission.action, person.arn, permission.resource, False)
    status, headers, body = iam_actions.access_denied_response(
        call.service, permission.action, person.arn, "refused", message=message, resource_arn=permission.resource
    )
    return Response(status, [(name.lower().encode(), value.encode()) for name, value in headers.items()], body)


def extract_iam_action(service: str, method: str, path: str, *rest: Any) -> str:
    """MiniStack's, corrected.

    It takes Lambda's PutFunctionEventInvokeConfig for an update of the code, and does not know that the actions of AWS
    Budgets have other names than its calls.
    """
    if service == "lambda" and method == "PUT" and path.endswith("/event-invoke-config"):
        return "lambda:PutFunctionEventInvokeConfig"
    action: str = _extract_iam_action(service, method, path, *rest)
    return BUDGETS_ACTIONS.get(action, action)


def extract_resource_arn(*call: Any) -> str:
    """MiniStack's, corrected.

    It does not find the resource of calls about tags and of Lambda's CreateFunction, nor a schedule's group. Of ECS's
    calls it takes the cluster where AWS takes the task or its definition; of EC2's what a list is narrowed to.
    """
    arn: str = _extract_resource_arn(*call)
    service, _, path, headers, body, parameters, region, account_id = call
    if service == "ecs":
        return _ecs_arn(headers.get("x-amz-target", "").rpartition(".")[2], json.loads(body), f"{region}:{account_id}")
    if service == "ec2" and b"Action=CreateSecurityGroup" in body:
        return f"arn:aws:ec2:{region}:{account_id}:{ANY_GROUP}"
    if service == "ec2" and b"Action=Describe" in body:
        return "*"
    if service == "appsync" and "/apikeys" in path:  # they are no resources of IAM's
        return "*"
    if service == "scheduler":
        return _schedule_arn(path, body, parameters, arn)
    if arn != "*" or body[:1] != b"{":
        return arn
    return _arn_in_body(service, json.loads(body), region, account_id)


def _arn_in_body(service: str, body: dict[str, Any], region: str, account_id: str) -> str:
    """The resource that a call's body names; "*" if it names none."""
    arn: str = "*"
    if service == "budgets" and (name := body.get("BudgetName") or body.get("Budget", {}).get("BudgetName")):
        arn = f"arn:aws:budgets::{account_id}:budget/{name}"
    elif service == "budgets":
        arn = body.get("ResourceARN", "*")
    elif service == "lambda" and "FunctionName" in body:
        arn = f"arn:aws:lambda:{region}:{account_id}:function:{body['FunctionName']}"
    elif service == "dynamodb":
        arn = body.get("ResourceArn", "*")
    return arn


def _ecs_arn(action: str, body: dict[str, Any], regional: str) -> str:
    kind, key = ECS_RESOURCES.get(action, ("", "resourceArn"))
    named: str | list[str] = body.get(key, "*")
    arn = named[0] if isinstance(named, list) else named
    if kind == "task" and "/" not in arn:
        arn = f"{_last(body['cluster'])}/{arn}"
    if kind == "task-definition" and ":" not in _last(arn):
        arn += ":*"
    return f"arn:aws:ecs:{regional}:{kind}/{arn}" if kind and not arn.startswith("arn:") else arn


def _schedule_arn(path: str, body: bytes, parameters: dict[str, Any], arn: str) -> str:
    if path.startswith("/tags/"):
        return unquote(path.removeprefix("/tags/"))
    group: str | list[str] = json.loads(body or b"{}").get("GroupName") or parameters.get("groupName", "default")
    group = group[0] if isinstance(group, list) else group
    return arn.replace(":schedule/default/", f":schedule/{group}/")


def _tags_of_apis() -> Iterator[tuple[str, list[dict[str, str]]]]:
    for arn, tags in apigateway._api_tags.items():
        yield arn, [{"Key": key, "Value": value} for key, value in tags.items()]


def _tags_of_security_groups() -> Iterator[tuple[str, list[dict[str, str]]]]:
    for group in ec2._security_groups.values():
        yield ec2._security_group_arn(group["GroupId"]), ec2._tags.get(group["GroupId"], [])


def _tags_of_log_groups() -> Iterator[tuple[str, list[dict[str, str]]]]:
    for group in cloudwatch_logs._log_groups.values():
        arn = group["arn"].removesuffix(":*")
        for each in (arn, f"{arn}:*"):
            yield each, [{"Key": key, "Value": value} for key, value in group["tags"].items()]


def simulate_with_conditions(parameters: dict[str, Any]) -> Any:
    """MiniStack's policy simulator, which also takes `ContextEntries`: what a policy's conditions ask about.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_ContextEntry.html
    """
    entries: dict[str, str] = {}
    for name in parameters:
        if found := CONTEXT_KEY_NAME.fullmatch(name):
            value = f"ContextEntries.member.{found[1]}.ContextKeyValues.member.1"
            entries[iam._p(parameters, name).lower()] = iam._p(parameters, value)
    iam_evaluator.evaluate = lambda context, *rest: _evaluate(replace(context, service_context=entries), *rest)
    try:
        return _simulate(parameters)
    finally:
        iam_evaluator.evaluate = _evaluate
