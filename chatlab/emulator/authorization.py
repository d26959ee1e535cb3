"""What AWS asks a person's policy and the emulator does not: a permission that is missing there is to be missing here.

The emulator asks for the action that a call is named after. AWS asks for more where a call hands on a role, or sets
tags; its reference calls that dependent actions. The services that are played beside the emulator (quotas, prices) ask
nobody by themselves. And of some calls the emulator does not see what they do, what they are about, or its tags.
https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
"""

import json
from typing import NamedTuple
from urllib.parse import unquote

from ministack.core import iam_actions, iam_evaluator
from ministack.services import apigateway, tagging
from temper import Answer, Call, again, describe, whole_body

FUNCTIONS = "/2015-03-31/functions"
PLAYED = {
    "pricing": "pricing",
    "servicequotas": "servicequotas",
    "monitoring": "cloudwatch",
    "organizations": "organizations",
}
"""Services that others than the emulator may answer for, and what their actions begin with."""


# https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsbudgetservice.html
BUDGETS = {
    "budgets:CreateBudget": "budgets:ModifyBudget",
    "budgets:UpdateBudget": "budgets:ModifyBudget",
    "budgets:DeleteBudget": "budgets:ModifyBudget",
    "budgets:DescribeBudget": "budgets:ViewBudget",
    "budgets:DescribeBudgets": "budgets:ViewBudget",
}


class Asked(NamedTuple):
    """One question to a policy."""

    action: str
    resource: str
    passed_to: str | None = None
    """The service that gets the role, where the action is to pass one."""


def asked_beside(call: Call, account: str) -> list[Asked]:
    """What AWS asks about a call, and the emulator does not."""
    try:
        body = json.loads(call.body) if call.body[:1] == b"{" else {}
    except ValueError:
        body = {}
    regional = f"{call.region}:{account}"
    method, _, path = call.operation.partition(" ")
    match call.service, call.operation:
        case "dynamodb", "CreateTable" if body.get("Tags"):
            return [Asked("dynamodb:TagResource", f"arn:aws:dynamodb:{regional}:table/{body['TableName']}")]
        case "iam", "CreateRole" if "Tags.member.1.Key" in call.parameters:
            return [Asked("iam:TagRole", f"arn:aws:iam::{account}:role/{call.parameters['RoleName']}")]
        case "logs", "CreateLogGroup" if body.get("tags"):
            return [Asked("logs:TagResource", f"arn:aws:logs:{regional}:log-group:{body['logGroupName']}")]
        case "lambda", "GET /2016-08-19/account-settings" | "GET /2016-08-19/account-settings/":
            return [Asked("lambda:GetAccountSettings", "*")]
        case "lambda", _ if path.startswith(FUNCTIONS) and method in ("POST", "PUT"):
            name = body.get("FunctionName") or path.removeprefix(f"{FUNCTIONS}/").partition("/")[0]
            passed = [Asked("iam:PassRole", body["Role"], "lambda.amazonaws.com")] if body.get("Role") else []
            tagged = [Asked("lambda:TagResource", f"arn:aws:lambda:{regional}:function:{name}")]
            return passed + (tagged if body.get("Tags") else [])
        case "apigateway", "GET /account":
            return [Asked("apigateway:GET", f"arn:aws:apigateway:{call.region}::/account")]
        case "apigateway", _ if method == "POST" and path.endswith("/stages") and body.get("tags"):
            return [Asked("apigateway:TagResource", f"arn:aws:apigateway:{call.region}::{path.removeprefix('/v2')}")]
        case "scheduler", _ if method == "POST" and path.startswith("/schedule-groups/") and body.get("Tags"):
            return [Asked("scheduler:TagResource", f"arn:aws:scheduler:{regional}:schedule-group/{_last(path)}")]
        case "scheduler", _ if method == "DELETE" and path.startswith("/schedule-groups/"):
            return [Asked("scheduler:DeleteSchedule", f"arn:aws:scheduler:{regional}:schedule/{_last(path)}/*")]
        case "scheduler", _ if method in ("POST", "PUT") and path.startswith("/schedules/"):
            return [Asked("iam:PassRole", body["Target"]["RoleArn"], "scheduler.amazonaws.com")]
        case "budgets", "CreateBudget" if body.get("ResourceTags"):
            name = body["Budget"]["BudgetName"]
            return [Asked("budgets:TagResource", f"arn:aws:budgets::{account}:budget/{name}")]
        case "s3", "GET /v20180820/configuration/publicAccessBlock":
            return [Asked("s3:GetAccountPublicAccessBlock", "*")]
        case "s3", _ if method == "PUT" and b"<CreateBucketConfiguration" in call.body and b"<Tag>" in call.body:
            bucket = path.strip("/") or call.host.partition(".")[0]
            return [Asked("s3:TagResource", f"arn:aws:s3:::{bucket}")]
    if call.service in PLAYED:
        return [Asked(f"{PLAYED[call.service]}:{call.operation.rpartition('/')[2]}", "*")]
    return []


def _last(path):
    return path.rstrip("/").rpartition("/")[2]


def with_what_aws_asks(app, record=lambda action, resource, allowed: None):
    """The application, which refuses what a person's policy does not allow on AWS. Roles are the emulator's business.

    `record` is told each question that was asked here.
    """
    tagging._RESOURCE_TAG_COLLECTORS["apigateway"] = _tags_of_apis  # for `aws:ResourceTag`
    iam_actions.extract_resource_arn = _narrowed(iam_actions.extract_resource_arn)
    iam_actions.extract_iam_action = _more(iam_actions.extract_iam_action)

    async def asking(scope, receive, send):
        if scope["type"] != "http" or not describe(scope, b"").key.startswith("AKIA"):
            await app(scope, receive, send)
            return
        body = await whole_body(receive)
        call = describe(scope, body)
        account = iam_evaluator.find_iam_access_key_account(call.key)
        for asked in asked_beside(call, account) if account else []:
            refused = _refused(call, account, asked)
            record(asked.action, asked.resource, not refused)
            if refused:
                await send({"type": "http.response.start", "status": refused.status, "headers": refused.headers})
                await send({"type": "http.response.body", "body": refused.body})
                return
        await app(scope, again(body, receive), send)

    return asking


def _refused(call, account, asked):
    """The Answer of a refusal; None if the policy of whoever signed allows it."""
    person = iam_evaluator.resolve_principal(call.key, account)
    if isinstance(person, iam_evaluator.AuthError) or person.policies is None:
        return None  # the emulator says what is wrong with the key
    context = iam_evaluator.EvalContext(
        principal_arn=person.arn,
        principal_type=person.type,
        principal_account=person.account,
        principal_keys=person.keys,
        action=asked.action,
        resource_arn=asked.resource,
        region=call.region,
        service_context={"iam:passedtoservice": asked.passed_to},
    )
    if iam_evaluator.evaluate(context, person.policies, *person.limits).decision == "Allow":
        return None
    message = iam_actions.identity_denial_message(asked.action, person.arn, asked.resource, False)
    status, headers, body = iam_actions.access_denied_response(
        call.service, asked.action, person.arn, "refused", message=message, resource_arn=asked.resource
    )
    return Answer(status, [(name.lower().encode(), value.encode()) for name, value in headers.items()], body)


def _more(extract_iam_action):
    """The emulator's, which takes Lambda's PutFunctionEventInvokeConfig for an update of the code, and does not know
    that actions of AWS Budgets are named otherwise than its calls."""

    def more(service, method, path, *rest):
        if service == "lambda" and method == "PUT" and path.endswith("/event-invoke-config"):
            return "lambda:PutFunctionEventInvokeConfig"
        action = extract_iam_action(service, method, path, *rest)
        return BUDGETS.get(action, action)

    return more


def _narrowed(extract_resource_arn):
    """The emulator's, which also finds what calls about tags and Lambda's CreateFunction are about, and in which group
    a schedule is."""

    def narrowed(service, method, path, headers, body, parameters, region, account):
        resource = extract_resource_arn(service, method, path, headers, body, parameters, region, account)
        if service == "scheduler":
            return _of_schedules(path, body, parameters, resource)
        if resource != "*" or body[:1] != b"{":
            return resource
        named = json.loads(body)
        if service == "budgets" and (name := named.get("BudgetName") or named.get("Budget", {}).get("BudgetName")):
            return f"arn:aws:budgets::{account}:budget/{name}"
        if service == "budgets":
            return named.get("ResourceARN", "*")
        if service == "lambda" and "FunctionName" in named:
            return f"arn:aws:lambda:{region}:{account}:function:{named['FunctionName']}"
        return named.get("ResourceArn", "*") if service == "dynamodb" else "*"

    return narrowed


def _of_schedules(path, body, parameters, resource):
    if path.startswith("/tags/"):
        return unquote(path.removeprefix("/tags/"))
    group = json.loads(body or b"{}").get("GroupName") or parameters.get("groupName", "default")
    group = group[0] if isinstance(group, list) else group
    return resource.replace(":schedule/default/", f":schedule/{group}/")


def _tags_of_apis():
    for arn, tags in apigateway._api_tags.items():
        yield arn, [{"Key": key, "Value": value} for key, value in tags.items()]
