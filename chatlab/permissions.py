"""The permissions that you need on AWS to run the lab, and no others: one list of statements makes the policy.

A test records the calls of a whole run and compares them with that list. The names of actions, and the resources that
each can be narrowed to, are those of AWS's Service Authorization Reference:
https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
They often differ from boto3's: HeadBucket is `s3:ListBucket`, and API Gateway knows HTTP's methods only.
`sts:GetCallerIdentity` is missing because AWS allows it to everybody.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from chatlab.errors import LabError
from chatlab.paths import ROOT
from chatlab.settings import DEFAULT_NAME, Settings

if TYPE_CHECKING:
    from chatlab.lab import Lab

POLICY = ROOT / "docs" / "aws-policy.json"
MAX_CHARACTERS = 6_144  # of a managed policy, without white space: IAM's quota
FUNCTIONS, LOG_GROUPS = (
    [f"arn:{{partition}}:{arn}{{name}}-{part}" for part in ("connect", "default", "disconnect")]
    for arn in ("lambda:{region}:{account_id}:function:", "logs:{region}:{account_id}:log-group:/aws/lambda/")
)


@dataclass(frozen=True)
class Statement:
    """One statement of the policy."""

    sid: str
    resources: list[str]
    """ARN templates of {partition}, {region}, {account_id}, {name}, {role}, {switch_role}, {bucket} and {any}."""
    actions: dict[str, str]
    """IAM's actions, and the notebook or the call that needs each."""
    condition: dict[str, dict[str, str]] = field(default_factory=dict)
    is_for_switch: bool = False
    """Whether only the switch needs it, which removes the stage after some hours."""

    def fill(self, **names: str) -> dict[str, Any]:
        """The statement as IAM has it, with these names in the templates."""
        filled = {
            "Sid": self.sid,
            "Effect": "Allow",
            "Action": list(self.actions),
            "Resource": [resource.format(**names) for resource in self.resources],
        }
        condition = {
            operator: {key: value.format(**names) for key, value in keys.items()}
            for operator, keys in self.condition.items()
        }
        return filled | ({"Condition": condition} if condition else {})


STATEMENTS = [
    Statement(
        "Table",
        ["arn:{partition}:dynamodb:{region}:{account_id}:table/{name}"],
        {
            "dynamodb:CreateTable": "01",
            "dynamodb:TagResource": "01: create_table with Tags asks for both",
            "dynamodb:DescribeTable": "01, 99, and the waiters",
            "dynamodb:ListTagsOfResource": "01, 99: whose table is it?",
            "dynamodb:DescribeTimeToLive": "01",
            "dynamodb:UpdateTimeToLive": "01",
            "dynamodb:PutItem": "01: Verify",
            "dynamodb:GetItem": "01, 03: Verify",
            "dynamodb:DeleteItem": "01: Verify",
            "dynamodb:Scan": "04: Verify",
            "dynamodb:UpdateTable": "08: the index",
            "dynamodb:DeleteTable": "99",
        },
    ),
    Statement(
        "Index",
        ["arn:{partition}:dynamodb:{region}:{account_id}:table/{name}/index/room"],
        {"dynamodb:Query": "08: who is in a room?"},
    ),
    Statement(
        "Roles",
        ["arn:{partition}:iam::{account_id}:role/{role}", "arn:{partition}:iam::{account_id}:role/{switch_role}"],
        {
            "iam:CreateRole": "02, and 04 for the switch",
            "iam:TagRole": "02: create_role with Tags asks for both",
            "iam:GetRole": "02 to 04, and the waiter",
            "iam:PutRolePolicy": "02 to 04, 08",
            "iam:GetRolePolicy": "04: what is broken is put back",
            "iam:ListRolePolicies": "99",
            "iam:ListAttachedRolePolicies": "99: what was attached by hand",
            "iam:ListInstanceProfilesForRole": "99: the same",
            "iam:DeleteRolePolicy": "08, 99",
            "iam:DetachRolePolicy": "99",
            "iam:DeleteRole": "99",
        },
    ),
    Statement(
        "InstanceProfiles",
        ["arn:{partition}:iam::{account_id}:instance-profile/{any}"],
        {"iam:RemoveRoleFromInstanceProfile": "99: a role that is in one can't be deleted, and its name is not known"},
    ),
    Statement(
        "PassRole",
        ["arn:{partition}:iam::{account_id}:role/{role}"],
        {"iam:PassRole": "03: create_function and update_function_configuration with a Role ask for it, too"},
        {"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}},
    ),
    Statement(
        "PassSwitchRole",
        ["arn:{partition}:iam::{account_id}:role/{switch_role}"],
        {"iam:PassRole": "04: create_schedule asks for it, too"},
        {"StringEquals": {"iam:PassedToService": "scheduler.amazonaws.com"}},
        is_for_switch=True,
    ),
    Statement(
        "Switch",
        [
            "arn:{partition}:scheduler:{region}:{account_id}:schedule-group/{name}-switch",
            "arn:{partition}:scheduler:{region}:{account_id}:schedule/{name}-switch/{any}",
        ],
        {
            "scheduler:CreateScheduleGroup": "04, where HOURS is set",
            "scheduler:TagResource": "04: create_schedule_group with Tags asks for both",
            "scheduler:CreateSchedule": "04",
            "scheduler:GetSchedule": "04",
            "scheduler:UpdateSchedule": "04: the hours begin anew",
            "scheduler:ListTagsForResource": "04, 99, the inventory: whose group is it?",
            "scheduler:GetScheduleGroup": "the inventory by tag",
            "scheduler:DeleteScheduleGroup": "99",
            "scheduler:DeleteSchedule": "99: delete_schedule_group asks for both",
        },
        is_for_switch=True,
    ),
    Statement(
        "Alarm",
        ["arn:{partition}:budgets::{account_id}:budget/{name}-{region}"],
        {
            "budgets:ModifyBudget": "00, where EMAIL is set: create_budget; 99: delete_budget",
            "budgets:TagResource": "00: create_budget with ResourceTags asks for both",
        },
    ),
    Statement(
        "Functions",
        FUNCTIONS,
        {
            "lambda:CreateFunction": "03",
            "lambda:TagResource": "03: create_function with Tags asks for both",
            "lambda:GetFunction": "03, 99, and the waiters",
            "lambda:GetFunctionConfiguration": "03 to 07",
            "lambda:UpdateFunctionCode": "03, 04, 07, 08",
            "lambda:UpdateFunctionConfiguration": "03 to 05",
            "lambda:PutFunctionEventInvokeConfig": "03",
            "lambda:InvokeFunction": "03: Verify",
            "lambda:GetPolicy": "04",
            "lambda:AddPermission": "04",
            "lambda:RemovePermission": "04: one that names an API that is gone",
            "lambda:DeleteFunction": "99",
        },
    ),
    Statement(
        "EventSources",
        ["arn:{partition}:lambda:{region}:{account_id}:event-source-mapping:{any}"],
        {"lambda:DeleteEventSourceMapping": "99: what feeds a function by hand, whose name is not known"},
        {"ArnLike": {"lambda:FunctionArn": "arn:*:lambda:*:*:function:{name}-*"}},
    ),
    Statement(
        "LogGroups",
        # With and without the end: which of the two an action is checked against is not the same for all.
        [*LOG_GROUPS, *(f"{group}:*" for group in LOG_GROUPS)],
        {
            "logs:CreateLogGroup": "03",
            "logs:TagResource": "03: create_log_group with tags asks for both",
            "logs:ListTagsForResource": "03, 99: whose log group is it?",
            "logs:PutRetentionPolicy": "03",
            "logs:DeleteLogGroup": "99",
        },
    ),
    Statement(
        "Apis",
        # An API's id is AWS's, so it can't be narrowed by name, and what is below an API inherits no tag of it:
        # https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-tagging-supported-resources.html
        ["arn:{partition}:apigateway:{region}::/apis", "arn:{partition}:apigateway:{region}::/apis/{any}"],
        {
            "apigateway:GET": "04, and wherever the API is looked for",
            "apigateway:POST": "04: create_api, _integration, _route, _deployment and _stage",
            "apigateway:PATCH": "04: update_route and update_stage, where something is not as it should be",
            # Not in the reference, and yet asked for: amplify-cli #12316.
            "apigateway:TagResource": "04: create_stage with Tags asks for both",
        },
    ),
    Statement(
        "Connections",
        ["arn:{partition}:execute-api:{region}:{account_id}:{any}/production/{any}/@connections/{any}"],
        {"execute-api:ManageConnections": "04: Verify"},
    ),
    Statement(
        "Account",
        ["arn:{partition}:apigateway:{region}::/account"],
        {"apigateway:GET": "03, 06: get_account, for the requests a second"},
    ),
    Statement(
        "TagsOfApis",
        # The first star is for an ARN within the ARN, as AWS has asked: terraform-provider-aws #16023.
        ["arn:{partition}:apigateway:{region}::*/tags/{any}"],
        {
            "apigateway:POST": "04: create_api with Tags may ask for it, too",
            "apigateway:PUT": "04: the same, as in API Gateway's older interface",
        },
    ),
    Statement(
        "OwnApi",
        ["arn:{partition}:apigateway:{region}::/apis/{any}"],
        {"apigateway:DELETE": "99: delete_api, of one that carries the lab's tag"},
        {"StringEquals": {"aws:ResourceTag/chatlab": "{name}"}},
    ),
    Statement(
        "Bucket",
        ["arn:{partition}:s3:::{bucket}"],
        {
            "s3:CreateBucket": "05",
            "s3:TagResource": "05: create_bucket with Tags asks for both",
            "s3:GetBucketTagging": "05, 99: whose bucket is it?",
            "s3:ListBucket": "05, 99, the inventory: head_bucket and list_objects_v2",
            "s3:PutBucketPublicAccessBlock": "05",
            "s3:GetBucketPublicAccessBlock": "05",
            "s3:PutBucketPolicy": "05",
            "s3:DeleteBucketPolicy": "05: what is broken is put back",
            "s3:PutBucketWebsite": "05",
            "s3:GetBucketWebsite": "05",
            "s3:ListBucketVersions": "99: objects of a bucket that somebody has versioned",
            "s3:ListBucketMultipartUploads": "99: unfinished uploads",
            "s3:DeleteBucket": "99",
        },
    ),
    Statement(
        "Objects",
        ["arn:{partition}:s3:::{bucket}/{any}"],
        {
            "s3:PutObject": "05",
            "s3:GetObject": "05: head_object",
            "s3:DeleteObject": "05, 99",
            "s3:DeleteObjectVersion": "99",
            "s3:AbortMultipartUpload": "99",
        },
    ),
    Statement(
        "WhoseIsIt",
        # Asked of all that begins like the lab's own, so that what is somebody else's is left alone.
        [
            "arn:{partition}:dynamodb:{region}:{account_id}:table/{name}-{any}",
            "arn:{partition}:iam::{account_id}:role/{name}-{any}",
            "arn:{partition}:lambda:{region}:{account_id}:function:{name}-{any}",
            "arn:{partition}:budgets::{account_id}:budget/{name}-{any}",
        ],
        {
            "budgets:ListTagsForResource": "99, the inventory",
            "dynamodb:DescribeTable": "the inventory",
            "dynamodb:ListTagsOfResource": "the inventory",
            "iam:ListRoleTags": "02, 99, the inventory",
            "lambda:ListTags": "the inventory",
        },
    ),
    Statement(
        "Lists",
        ["*"],  # none of these can be narrowed, or not before the answer is known
        {
            "budgets:ViewBudget": "00, the inventory",
            "dynamodb:ListTables": "00, the inventory",
            "iam:ListRoles": "00, the inventory",
            "iam:SimulatePrincipalPolicy": "00 of yourself, 02 and 04 of the role",
            "lambda:ListFunctions": "00, the inventory",
            "lambda:ListEventSourceMappings": "99: what feeds a function by hand",
            "lambda:GetAccountSettings": "00, 03, 06: how many invocations at once",
            "logs:DescribeLogGroups": "00, 03, the inventory",
            "s3:ListAllMyBuckets": "00, the inventory",
            "s3:GetAccountPublicAccessBlock": "00, 05: may a bucket be public at all?",
            "scheduler:ListScheduleGroups": "the inventory",
            "scheduler:ListSchedules": "the inventory",
            "organizations:DescribeEffectivePolicy": "05: and if not, who forbids it?",
            "tag:GetResources": "the inventory, by tag",
            "servicequotas:GetServiceQuota": "00, 03, 06: connections a second",
            "pricing:GetProducts": "00, 04, 06, 07: the Region's prices",
            "cloudwatch:GetMetricStatistics": "07",
        },
    ),
]


class Need(NamedTuple):
    """One action on one resource, as IAM's policy simulator asks for it."""

    action: str
    resource: str
    context: list[dict[str, Any]]
    """`ContextEntries` of the simulator: the keys that the action's condition asks for."""


def policy(name: str = DEFAULT_NAME) -> dict[str, Any]:
    """The policy for a person who runs a lab called `name`, in any Region and account of the partition `aws`."""
    names = {
        "partition": "aws", "region": "*", "account_id": "*", "name": name, "role": f"{name}-lambda-*",
        "switch_role": f"{name}-switch-*", "bucket": f"{name}-page-*", "any": "*",
    }  # fmt: skip
    return {"Version": "2012-10-17", "Statement": [statement.fill(**names) for statement in STATEMENTS]}


def list_needs(lab: "Lab", with_switch: bool = True) -> list[Need]:
    """What you need for this lab, in the form in which you can ask the policy simulator."""
    names = {
        "partition": lab.partition, "region": lab.region, "account_id": lab.account_id, "name": lab.name,
        "role": lab.role, "switch_role": lab.switch_role, "bucket": lab.bucket, "any": "any",
    }  # fmt: skip
    needs = []
    for statement in STATEMENTS:
        if with_switch or not statement.is_for_switch:
            filled = statement.fill(**names)
            context = [
                {"ContextKeyName": key, "ContextKeyValues": [value], "ContextKeyType": "string"}
                for keys in filled.get("Condition", {}).values()
                for key, value in keys.items()
            ]
            for resource in filled["Resource"]:
                resource = resource if resource == "*" else resource.replace("*", "any")
                needs += [Need(action, resource, context) for action in filled["Action"]]
    return needs


def to_text(document: dict[str, Any]) -> str:
    """A policy as text, one action a line."""
    return json.dumps(document, indent=2) + "\n"


def main(names: Sequence[str]) -> int:
    """Renew `docs/aws-policy.json`, for a lab called `chat`, or print the policy of another NAME; the exit status."""
    if len(names) > 1:
        raise LabError("You can give one lab's NAME: python -m chatlab permissions NAME")
    if names:
        print(to_text(policy(Settings(name=names[0]).name)), end="")
    else:
        POLICY.write_text(to_text(policy()))
    return 0
