"""Which permissions AWS asks for and the emulator does not: one that is missing on AWS is then missing here.

The emulator asks for the action that a call is named after. AWS asks for more where a call hands on a role, or sets
tags; its reference calls these dependent actions. The services that are played beside the emulator (quotas, prices) ask
for nothing by themselves. And of some calls the emulator does not see what they do, on which resource, or its tags.
https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
"""

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import unquote

from ministack.core import iam_actions, iam_evaluator
from ministack.services import apigateway, tagging

from chatlab.emulator.api_call import ApiCall, parse_call
from chatlab.emulator.asgi import App, Receive, Scope, Send, read_body, replay
from chatlab.emulator.recorder import Record
from chatlab.emulator.responses import Response

FUNCTIONS = "/2015-03-31/functions"
ACTION_PREFIXES = {
    "pricing": "pricing",
    "servicequotas": "servicequotas",
    "monitoring": "cloudwatch",
    "organizations": "organizations",
}
"""Of services that are played beside the emulator: what their actions begin with."""

# https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsbudgetservice.html
BUDGETS_ACTIONS = {
    "budgets:CreateBudget": "budgets:ModifyBudget",
    "budgets:UpdateBudget": "budgets:ModifyBudget",
    "budgets:DeleteBudget": "budgets:ModifyBudget",
    "budgets:DescribeBudget": "budgets:ViewBudget",
    "budgets:DescribeBudgets": "budgets:ViewBudget",
}


class Permission(NamedTuple):
    """What a policy has to allow."""

    action: str
    resource: str
    passed_to: str | None = None
    """The service that gets the role, where the action is to pass one."""


def dependent_permissions(call: ApiCall, account_id: str) -> list[Permission]:
    """What AWS asks for before it does the call, and the emulator does not."""
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
            passed = [Permission("iam:PassRole", body["Role"], "lambda.amazonaws.com")] if body.get("Role") else []
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
            return [Permission("iam:PassRole", body["Target"]["RoleArn"], "scheduler.amazonaws.com")]
        case "budgets", "CreateBudget" if body.get("ResourceTags"):
            name = body["Budget"]["BudgetName"]
            return [Permission("budgets:TagResource", f"arn:aws:budgets::{account_id}:budget/{name}")]
        case "s3", "GET /v20180820/configuration/publicAccessBlock":
            return [Permission("s3:GetAccountPublicAccessBlock", "*")]
        case "s3", _ if method == "PUT" and b"<CreateBucketConfiguration" in call.body and b"<Tag>" in call.body:
            bucket = path.strip("/") or call.host.partition(".")[0]
            return [Permission("s3:TagResource", f"arn:aws:s3:::{bucket}")]
    if call.service in ACTION_PREFIXES:
        return [Permission(f"{ACTION_PREFIXES[call.service]}:{call.operation.rpartition('/')[2]}", "*")]
    return []


def _last(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def with_aws_authorization(app: App, record: Record) -> App:
    """The application, which refuses what a person's policy does not allow on AWS. Roles are the emulator's business.

    `record` is called for each permission that this asks for.
    """
    tagging._RESOURCE_TAG_COLLECTORS["apigateway"] = _tags_of_apis  # for `aws:ResourceTag`
    iam_actions.extract_resource_arn = _with_more_resources(iam_actions.extract_resource_arn)
    iam_actions.extract_iam_action = _with_more_actions(iam_actions.extract_iam_action)

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


def _refusal(call: ApiCall, account_id: str | None, permission: Permission) -> Response | None:
    """The response that refuses the call; None if the policy of whoever signed it has the permission."""
    person = iam_evaluator.resolve_principal(call.access_key_id, account_id)
    if isinstance(person, iam_evaluator.AuthError) or person.policies is None:
        return None  # the emulator says what is wrong with the key
    context = iam_evaluator.EvalContext(
        principal_arn=person.arn,
        principal_type=person.type,
        principal_account=person.account,
        principal_keys=person.keys,
        action=permission.action,
        resource_arn=permission.resource,
        region=call.region,
        service_context={"iam:passedtoservice": permission.passed_to},
    )
    if iam_evaluator.evaluate(context, person.policies, *person.limits).decision == "Allow":
        return None
    message = iam_actions.identity_denial_message(permission.action, person.arn, permission.resource, False)
    status, headers, body = iam_actions.access_denied_response(
        call.service, permission.action, person.arn, "refused", message=message, resource_arn=permission.resource
    )
    return Response(status, [(name.lower().encode(), value.encode()) for name, value in headers.items()], body)


def _with_more_actions(extract_iam_action: Callable[..., str]) -> Callable[..., str]:
    """MiniStack's function, mended.

    It takes Lambda's PutFunctionEventInvokeConfig for an update of the code, and does not know that the actions of AWS
    Budgets have other names than its calls.
    """

    def extract(service: str, method: str, path: str, *rest: Any) -> str:
        if service == "lambda" and method == "PUT" and path.endswith("/event-invoke-config"):
            return "lambda:PutFunctionEventInvokeConfig"
        action = extract_iam_action(service, method, path, *rest)
        return BUDGETS_ACTIONS.get(action, action)

    return extract


def _with_more_resources(extract_resource_arn: Callable[..., str]) -> Callable[..., str]:
    """MiniStack's function, mended.

    It does not find which resource calls about tags and Lambda's CreateFunction are about, nor a schedule's group.
    """

    def extract(
        service: str,
        method: str,
        path: str,
        headers: Any,
        body: bytes,
        parameters: dict[str, Any],
        region: str,
        account_id: str,
    ) -> str:
        arn = extract_resource_arn(service, method, path, headers, body, parameters, region, account_id)
        if service == "scheduler":
            return _schedule_arn(path, body, parameters, arn)
        if arn != "*" or body[:1] != b"{":
            return arn
        return _arn_in_body(service, json.loads(body), region, account_id)

    return extract


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


def _schedule_arn(path: str, body: bytes, parameters: dict[str, Any], arn: str) -> str:
    if path.startswith("/tags/"):
        return unquote(path.removeprefix("/tags/"))
    group: str | list[str] = json.loads(body or b"{}").get("GroupName") or parameters.get("groupName", "default")
    group = group[0] if isinstance(group, list) else group
    return arn.replace(":schedule/default/", f":schedule/{group}/")


def _tags_of_apis() -> Iterator[tuple[str, list[dict[str, str]]]]:
    for arn, tags in apigateway._api_tags.items():
        yield arn, [{"Key": key, "Value": value} for key, value in tags.items()]
