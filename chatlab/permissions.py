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
from chatlab.settings import DEFAULT_NAME, Options, Settings

if TYPE_CHECKING:
    from chatlab.lab import Lab

POLICY = ROOT / "docs" / "aws-policy.json"
FUNCTIONS, LOG_GROUPS = (
    [f"arn:{{partition}}:{arn}{{name}}-{part}" for part in ("connect", "default", "disconnect")]
    for arn in ("lambda:{region}:{account_id}:function:", "logs:{region}:{account_id}:log-group:/aws/lambda/")
)


@dataclass(frozen=True)
class Statement:
    """One statement of the policy."""

    sid: str
    resources: list[str]
    """ARN templates of {partition}, {region}, {account_id}, {name}, {path} (of the roles), {role}, {switch_role},
    {bucket} and {any}."""
    actions: str
    """IAM's actions, with spaces between."""
    condition: dict[str, dict[str, str]] = field(default_factory=dict)
    is_for_switch: bool = False
    """Whether only the switch needs it, which closes chat and page after some hours."""

    def fill(self, **names: str) -> dict[str, Any]:
        """The statement as IAM has it, with these names in the templates."""
        filled = {
            "Sid": self.sid,
            "Effect": "Allow",
            "Action": self.actions.split(),
            "Resource": list(dict.fromkeys(resource.format(**names) for resource in self.resources)),
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
        "dynamodb:CreateTable dynamodb:TagResource dynamodb:DescribeTable dynamodb:ListTagsOfResource"
        " dynamodb:DescribeTimeToLive dynamodb:UpdateTimeToLive dynamodb:PutItem dynamodb:GetItem dynamodb:DeleteItem"
        " dynamodb:Scan dynamodb:UpdateTable dynamodb:DeleteTable",
    ),
    Statement("Index", ["arn:{partition}:dynamodb:{region}:{account_id}:table/{name}/index/room"], "dynamodb:Query"),
    Statement(
        "Roles",
        [
            "arn:{partition}:iam::{account_id}:role{path}{role}",
            "arn:{partition}:iam::{account_id}:role{path}{switch_role}",
        ],
        "iam:CreateRole iam:TagRole iam:GetRole iam:PutRolePolicy iam:GetRolePolicy iam:ListRolePolicies"
        " iam:ListAttachedRolePolicies iam:ListInstanceProfilesForRole iam:DeleteRolePolicy iam:DetachRolePolicy"
        " iam:DeleteRole",
    ),
    Statement(
        "InstanceProfiles",  # a role that is in one can't be deleted, and its name is not known
        ["arn:{partition}:iam::{account_id}:instance-profile/{any}"],
        "iam:RemoveRoleFromInstanceProfile",
    ),
    Statement(
        "PassRole",  # create_function and update_function_configuration with a Role ask for it, too
        ["arn:{partition}:iam::{account_id}:role{path}{role}"],
        "iam:PassRole",
        {"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}},
    ),
    Statement(
        "PassSwitchRole",  # create_schedule asks for it, too
        ["arn:{partition}:iam::{account_id}:role{path}{switch_role}"],
        "iam:PassRole",
        {"StringEquals": {"iam:PassedToService": "scheduler.amazonaws.com"}},
        is_for_switch=True,
    ),
    Statement(
        "Switch",  # delete_schedule_group asks for DeleteSchedule, too
        [
            "arn:{partition}:scheduler:{region}:{account_id}:schedule-group/{name}-switch",
            "arn:{partition}:scheduler:{region}:{account_id}:schedule/{name}-switch/{any}",
        ],
        "scheduler:CreateScheduleGroup scheduler:TagResource scheduler:CreateSchedule scheduler:GetSchedule"
        " scheduler:UpdateSchedule scheduler:ListTagsForResource scheduler:GetScheduleGroup"
        " scheduler:DeleteScheduleGroup scheduler:DeleteSchedule",
        is_for_switch=True,
    ),
    Statement(
        "Alarm",
        ["arn:{partition}:budgets::{account_id}:budget/{name}-{region}"],
        "budgets:ModifyBudget budgets:TagResource",  # create_budget and delete_budget are ModifyBudget
    ),
    Statement(
        "Functions",
        FUNCTIONS,
        "lambda:CreateFunction lambda:TagResource lambda:GetFunction lambda:GetFunctionConfiguration"
        " lambda:UpdateFunctionCode lambda:UpdateFunctionConfiguration lambda:PutFunctionEventInvokeConfig"
        " lambda:InvokeFunction lambda:GetPolicy lambda:AddPermission lambda:RemovePermission lambda:DeleteFunction",
    ),
    Statement(
        "EventSources",  # what feeds a function by hand, whose name is not known
        ["arn:{partition}:lambda:{region}:{account_id}:event-source-mapping:{any}"],
        "lambda:DeleteEventSourceMapping",
        {"ArnLike": {"lambda:FunctionArn": "arn:*:lambda:*:*:function:{name}-*"}},
    ),
    Statement(
        "LogGroups",
        # With and without the end: which of the two an action is checked against is not the same for all.
        [*LOG_GROUPS, *(f"{group}:*" for group in LOG_GROUPS)],
        "logs:CreateLogGroup logs:TagResource logs:ListTagsForResource logs:PutRetentionPolicy logs:FilterLogEvents"
        " logs:DeleteLogGroup",
    ),
    Statement(
        "Apis",
        # An API's id is AWS's, so it can't be narrowed by name, and what is below an API inherits no tag of it:
        # https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-tagging-supported-resources.html
        ["arn:{partition}:apigateway:{region}::/apis", "arn:{partition}:apigateway:{region}::/apis/{any}"],
        # TagResource, which create_stage with Tags needs, is not in the reference: amplify-cli #12316.
        "apigateway:GET apigateway:POST apigateway:PATCH apigateway:TagResource",
    ),
    Statement(
        "Connections",
        ["arn:{partition}:execute-api:{region}:{account_id}:{any}/production/{any}/@connections/{any}"],
        "execute-api:ManageConnections",
    ),
    # get_account, for the requests a second
    Statement("Account", ["arn:{partition}:apigateway:{region}::/account"], "apigateway:GET"),
    Statement(
        "TagsOfApis",
        # The first star is for an ARN within the ARN, as AWS has asked: terraform-provider-aws #16023.
        ["arn:{partition}:apigateway:{region}::*/tags/{any}"],
        "apigateway:POST apigateway:PUT",  # create_api with Tags may ask for either: PUT is the older interface's
    ),
    Statement(
        "OwnApi",
        ["arn:{partition}:apigateway:{region}::/apis/{any}"],
        "apigateway:DELETE",
        {"StringEquals": {"aws:ResourceTag/chatlab": "{name}"}},
    ),
    Statement(
        "Bucket",  # head_bucket and list_objects_v2 are ListBucket
        ["arn:{partition}:s3:::{bucket}"],
        "s3:CreateBucket s3:TagResource s3:GetBucketTagging s3:ListBucket s3:PutBucketPublicAccessBlock"
        " s3:GetBucketPublicAccessBlock s3:PutBucketPolicy s3:DeleteBucketPolicy"
        " s3:ListBucketVersions s3:ListBucketMultipartUploads s3:DeleteBucket",
    ),
    Statement(
        "Objects",  # head_object is GetObject
        ["arn:{partition}:s3:::{bucket}/{any}"],
        "s3:PutObject s3:GetObject s3:DeleteObject s3:DeleteObjectVersion s3:AbortMultipartUpload",
    ),
    Statement(
        "WhoseIsIt",
        # Asked of all that begins like the lab's own, so that what is somebody else's is left alone.
        [
            "arn:{partition}:dynamodb:{region}:{account_id}:table/{name}-{any}",
            "arn:{partition}:iam::{account_id}:role{path}{name}-{any}",
            # AWS, one assumes, does not know the path of a role that does not exist yet.
            "arn:{partition}:iam::{account_id}:role/{name}-{any}",
            "arn:{partition}:lambda:{region}:{account_id}:function:{name}-{any}",
            "arn:{partition}:budgets::{account_id}:budget/{name}-{any}",
        ],
        "budgets:ListTagsForResource dynamodb:DescribeTable dynamodb:ListTagsOfResource iam:ListRoleTags"
        " lambda:ListTags",
    ),
    Statement(
        "Lists",
        ["*"],  # none of these can be narrowed, or not before the answer is known
        "budgets:ViewBudget dynamodb:ListTables iam:ListRoles iam:SimulatePrincipalPolicy lambda:ListFunctions"
        " lambda:ListEventSourceMappings lambda:GetAccountSettings logs:DescribeLogGroups s3:ListAllMyBuckets"
        " s3:GetAccountPublicAccessBlock scheduler:ListScheduleGroups scheduler:ListSchedules"
        " organizations:DescribeEffectivePolicy tag:GetResources servicequotas:GetServiceQuota pricing:GetProducts",
    ),
]
"""All statements. A call that creates something with tags also asks for TagResource, or TagRole."""


class Need(NamedTuple):
    """One action on one resource, as IAM's policy simulator asks for it."""

    action: str
    resource: str
    context: list[dict[str, Any]]
    """`ContextEntries` of the simulator: the keys that the action's condition asks for."""


def policy(name: str = DEFAULT_NAME, role_path: str = "/") -> dict[str, Any]:
    """The policy for a person who runs a lab called `name`, in any Region and account of the partition `aws`.

    Its roles have this path.
    """
    names = {
        "partition": "aws", "region": "*", "account_id": "*", "name": name, "role": f"{name}-lambda-*",
        "switch_role": f"{name}-switch-*", "bucket": f"{name}-page-*", "any": "*", "path": role_path,
    }  # fmt: skip
    return {"Version": "2012-10-17", "Statement": [statement.fill(**names) for statement in STATEMENTS]}


def list_needs(lab: "Lab", with_switch: bool = True) -> list[Need]:
    """What you need for this lab, in the form in which you can ask the policy simulator."""
    names = {
        "partition": lab.partition, "region": lab.region, "account_id": lab.account_id, "name": lab.name,
        "role": lab.role, "switch_role": lab.switch_role, "bucket": lab.bucket, "any": "any",
        "path": lab.options.role_path,
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
    """Renew `docs/aws-policy.json`, for a lab called `chat`, or print another lab's policy; the exit status."""
    if len(names) > 2:
        raise LabError("You can give one lab's NAME and its ROLE_PATH: python -m chatlab permissions NAME ROLE_PATH")
    if names:
        options = Options.parse(given={"ROLE_PATH": names[1]} if names[1:] else {})
        print(to_text(policy(Settings(name=names[0]).name, options.role_path)), end="")
    else:
        POLICY.write_text(to_text(policy()))
    return 0
