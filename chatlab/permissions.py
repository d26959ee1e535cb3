"""The permissions that you need on AWS to run the lab, and no others: one list of statements makes two policies.

A test records the calls of a whole run and compares them with that list. The names of actions, and the resources that
each can be narrowed to, are those of AWS's Service Authorization Reference:
https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
They often differ from boto3's: HeadBucket is `s3:ListBucket`, and API Gateway knows HTTP's methods only.
`sts:GetCallerIdentity` is missing because AWS allows it to everybody.
"""

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from chatlab.errors import LabError
from chatlab.paths import ROOT
from chatlab.settings import DEFAULT_NAME, Options, Settings

if TYPE_CHECKING:
    from chatlab.lab import Lab

FUNCTIONS, LOG_GROUPS = (
    [f"arn:{{partition}}:{arn}{{name}}-{part}" for part in ("connect", "default", "disconnect")]
    for arn in ("lambda:{region}:{account_id}:function:", "logs:{region}:{account_id}:log-group:/aws/lambda/")
)
TABLE = "arn:{partition}:dynamodb:{region}:{account_id}:table/{name}"
ROLE, SWITCH_ROLE = (
    f"arn:{{partition}}:iam::{{account_id}}:role{{path}}{{{role}}}" for role in ("role", "switch_role")
)
MAKE_ROLE = (
    "iam:CreateRole iam:TagRole iam:GetRole iam:PutRolePolicy iam:GetRolePolicy iam:ListRolePolicies"
    " iam:ListAttachedRolePolicies iam:ListInstanceProfilesForRole"
)
DELETE_ROLE = "iam:DeleteRolePolicy iam:DetachRolePolicy iam:DeleteRole"
OBJECT_ACTIONS = "s3:PutObject s3:GetObject s3:DeleteObject s3:DeleteObjectVersion s3:AbortMultipartUpload"
FUNCTION = "arn:{partition}:lambda:{region}:{account_id}:function:{name}-{any}"
APIS = "arn:{partition}:apigateway:{region}::/apis"

# What carries the lab's tag. DynamoDB and S3 only look at tags where somebody has switched that on:
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/attribute-based-access-control.html
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/buckets-tagging-enable-abac.html
OWN = {"StringEquals": {"aws:ResourceTag/chatlab": "{name}"}}
# What carries no other lab's tag.
OWN_OR_UNTAGGED = {"StringEqualsIfExists": OWN["StringEquals"]}

# Notebook 10's.
ECS = "arn:{partition}:ecs:{region}:{account_id}"
CLUSTER, DEFINITIONS, TASKS = (
    f"{ECS}:{kind}/{{name}}-load-test{rest}"
    for kind, rest in (("cluster", ""), ("task-definition", ":{any}"), ("task", "/{any}"))
)
GROUPS, VPCS = (f"arn:{{partition}}:ec2:{{region}}:{{account_id}}:{kind}/{{any}}" for kind in ("security-group", "vpc"))
SERVICE_ROLE = "arn:{partition}:iam::{account_id}:role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS"
LOAD_BUCKET = "arn:{partition}:s3:::{load_test_bucket}"

HOURS, EMAIL = "HOURS can't be used", "EMAIL can't be used"
REGION_LOAD = "notebook 10 can't be done"
ROOMS, QUOTAS = "notebook 09 can't be done", "AWS's default quotas are assumed"
EVENTS = "notebook 11 can't be done"


@dataclass(frozen=True)
class Statement:
    """One statement of a policy, each of whose actions takes each of its resources."""

    sid: str
    resources: list[str]
    """ARN templates of {partition}, {region}, {account_id}, {name}, {path} (of the roles), {role}, {switch_role},
    {bucket}, {load_test_bucket}, {arn} and {any}."""
    actions: str
    """IAM's actions, with spaces between."""
    condition: dict[str, dict[str, str]] = field(default_factory=dict)
    loses: str = ""
    """What you lose without it; "" if the lab can't do without."""

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
        [TABLE],
        "dynamodb:CreateTable dynamodb:TagResource dynamodb:DescribeTable dynamodb:ListTagsOfResource"
        " dynamodb:DescribeTimeToLive dynamodb:UpdateTimeToLive dynamodb:PutItem dynamodb:GetItem dynamodb:DeleteItem"
        " dynamodb:Scan dynamodb:DeleteTable",
    ),
    Statement("Role", [ROLE], MAKE_ROLE),
    Statement("OwnRole", [ROLE], DELETE_ROLE, OWN),
    Statement(
        "PassRole",  # create_function and update_function_configuration with a Role ask for it, too
        [ROLE],
        "iam:PassRole",
        {"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}},
    ),
    Statement(
        "Functions",
        FUNCTIONS,
        "lambda:CreateFunction lambda:TagResource lambda:GetFunction lambda:GetFunctionConfiguration"
        " lambda:UpdateFunctionCode lambda:UpdateFunctionConfiguration lambda:PutFunctionEventInvokeConfig"
        " lambda:InvokeFunction lambda:GetPolicy lambda:AddPermission lambda:RemovePermission",
    ),
    Statement("OwnFunctions", [FUNCTION], "lambda:DeleteFunction", OWN),
    Statement(
        "EventSources",  # what feeds a function by hand, whose name is not known
        ["arn:{partition}:lambda:{region}:{account_id}:event-source-mapping:{any}"],
        "lambda:DeleteEventSourceMapping",
        {"ArnLike": {"lambda:FunctionArn": "arn:*:lambda:*:*:function:{name}-*"}},
    ),
    # With and without the end: which of the two an action is checked against is not the same for all.
    Statement(
        "LogGroups",
        (log_groups := [*LOG_GROUPS, *(f"{group}:*" for group in LOG_GROUPS)]),
        "logs:CreateLogGroup logs:TagResource logs:ListTagsForResource logs:PutRetentionPolicy logs:FilterLogEvents",
    ),
    Statement("OwnLogGroups", log_groups, "logs:DeleteLogGroup", OWN),
    # An API's id is AWS's, so it can't be narrowed by name, and of what is below an API only a stage has tags:
    # https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-tagging-supported-resources.html
    Statement("Apis", [APIS, f"{APIS}/{{any}}"], "apigateway:GET"),
    Statement("NewApi", [APIS], "apigateway:POST"),
    Statement("Parts", [f"{APIS}/{{any}}/{{any}}"], "apigateway:POST apigateway:PATCH", OWN_OR_UNTAGGED),
    # create_stage with Tags needs it, and it is not in the reference: amplify-cli #12316.
    Statement("TagApi", [APIS, f"{APIS}/{{any}}"], "apigateway:TagResource", OWN_OR_UNTAGGED),
    Statement(
        "TagsOfApis",
        # AWS has also asked with an ARN within the ARN: terraform-provider-aws #16023.
        ["arn:{partition}:apigateway:{region}::{arn}/tags/{any}"],
        "apigateway:POST apigateway:PUT",  # create_api with Tags may ask for either: PUT is the older interface's
        OWN_OR_UNTAGGED,
    ),
    Statement("OwnApi", [f"{APIS}/{{any}}"], "apigateway:DELETE", OWN),
    Statement(
        "Connections",
        ["arn:{partition}:execute-api:{region}:{account_id}:{any}/production/{any}/@connections/{any}"],
        "execute-api:ManageConnections",
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
        OBJECT_ACTIONS,
    ),
    # Asked of all that begins like the lab's own, so that what is somebody else's is left alone.
    Statement(
        "WhoseTable",
        [f"{TABLE}-{{any}}"],
        "dynamodb:DescribeTable dynamodb:ListTagsOfResource",
    ),
    Statement(
        "WhoseRole",
        # AWS, one assumes, does not know the path of a role that does not exist yet.
        [f"arn:{{partition}}:iam::{{account_id}}:role{path}{{name}}-{{any}}" for path in ("{path}", "/")],
        "iam:ListRoleTags",
    ),
    Statement("WhoseFunction", [FUNCTION], "lambda:ListTags"),
    Statement(
        "Lists",
        ["*"],  # none of these can be narrowed, or not before the answer is known
        "dynamodb:ListTables iam:ListRoles lambda:ListFunctions lambda:ListEventSourceMappings logs:DescribeLogGroups"
        " s3:ListAllMyBuckets",
    ),
    # --- the lab can do without what follows
    Statement("SwitchRole", [SWITCH_ROLE], MAKE_ROLE, loses=HOURS),
    Statement("OwnSwitchRole", [SWITCH_ROLE], DELETE_ROLE, OWN, loses=HOURS),
    Statement(
        "PassSwitchRole",  # create_schedule asks for it, too
        [SWITCH_ROLE],
        "iam:PassRole",
        {"StringEquals": {"iam:PassedToService": "scheduler.amazonaws.com"}},
        loses=HOURS,
    ),
    Statement(
        "Switch",
        (switch := ["arn:{partition}:scheduler:{region}:{account_id}:schedule-group/{name}-switch"]),
        "scheduler:CreateScheduleGroup scheduler:TagResource scheduler:ListTagsForResource scheduler:GetScheduleGroup",
        loses=HOURS,
    ),
    Statement("OwnSwitch", switch, "scheduler:DeleteScheduleGroup", OWN, loses=HOURS),
    Statement(
        "Schedule",  # delete_schedule_group asks for DeleteSchedule, too
        ["arn:{partition}:scheduler:{region}:{account_id}:schedule/{name}-switch/{any}"],
        "scheduler:CreateSchedule scheduler:GetSchedule scheduler:UpdateSchedule scheduler:DeleteSchedule",
        loses=HOURS,
    ),
    Statement("Schedules", ["*"], "scheduler:ListScheduleGroups scheduler:ListSchedules", loses=HOURS),
    Statement(
        "Alarm",  # create_budget and delete_budget are ModifyBudget
        ["arn:{partition}:budgets::{account_id}:budget/{name}-{region}"],
        "budgets:ModifyBudget budgets:TagResource budgets:ListTagsForResource",
        loses=EMAIL,
    ),
    Statement("Bills", ["*"], "budgets:ViewBudget", loses=EMAIL),
    Statement("Rooms", [TABLE], "dynamodb:UpdateTable", loses=ROOMS),
    Statement("RoomsIndex", [f"{TABLE}/index/room"], "dynamodb:Query", loses=ROOMS),
    Statement(
        "EventApis",
        ["*"],  # of these the reference knows no resource
        "appsync:CreateApi appsync:ListApis appsync:CreateApiKey appsync:ListApiKeys appsync:DeleteApiKey",
        loses=EVENTS,
    ),
    Statement(
        "EventApi",  # with its namespaces
        (event_api := ["arn:{partition}:appsync:{region}:{account_id}:apis/{any}"]),
        "appsync:GetApi appsync:TagResource appsync:CreateChannelNamespace appsync:ListChannelNamespaces",
        OWN_OR_UNTAGGED,
        loses=EVENTS,
    ),
    Statement("OwnEventApi", event_api, "appsync:DeleteApi", OWN, loses=EVENTS),
    *(
        Statement(sid, resources, actions, condition, REGION_LOAD)
        for sid, resources, actions, condition in [
            ("LoadTest", [CLUSTER, DEFINITIONS, TASKS], "ecs:TagResource", {}),
            ("Cluster", [CLUSTER], "ecs:CreateCluster ecs:DescribeClusters", {}),
            ("OwnCluster", [CLUSTER], "ecs:DeleteCluster", OWN),
            ("Definitions", [DEFINITIONS], "ecs:RegisterTaskDefinition ecs:RunTask ecs:DeleteTaskDefinitions", {}),
            ("Tasks", [TASKS], "ecs:DescribeTasks ecs:StopTask", {}),
            (
                "ServiceRole",
                [SERVICE_ROLE],
                "iam:CreateServiceLinkedRole",  # the account's first cluster asks for it
                {"StringEquals": {"iam:AWSServiceName": "ecs.amazonaws.com"}},
            ),
            ("NewGroup", [GROUPS, VPCS], "ec2:CreateSecurityGroup", {}),
            ("TagGroup", [GROUPS], "ec2:CreateTags", {"StringEquals": {"ec2:CreateAction": "CreateSecurityGroup"}}),
            ("OwnGroup", [GROUPS], "ec2:AuthorizeSecurityGroupIngress ec2:DeleteSecurityGroup", OWN),
            (
                "LoadBucket",
                [LOAD_BUCKET],
                "s3:CreateBucket s3:TagResource s3:GetBucketTagging s3:ListBucket s3:ListBucketVersions"
                " s3:ListBucketMultipartUploads s3:DeleteBucket",
                {},
            ),
            ("LoadObjects", [f"{LOAD_BUCKET}/{{any}}"], OBJECT_ACTIONS, {}),
            (
                "LoadLists",
                ["*"],  # DeregisterTaskDefinition can't be narrowed either
                "ecs:ListTasks ecs:ListTaskDefinitions ecs:DescribeTaskDefinition ecs:DeregisterTaskDefinition"
                " ec2:DescribeSubnets ec2:DescribeRouteTables ec2:DescribeSecurityGroups",
                {},
            ),
        ]
    ),
    # get_account, for the requests a second
    Statement("Account", ["arn:{partition}:apigateway:{region}::/account"], "apigateway:GET", loses=QUOTAS),
    Statement("Quotas", ["*"], "lambda:GetAccountSettings servicequotas:GetServiceQuota", loses=QUOTAS),
    Statement("Prices", ["*"], "pricing:GetProducts", loses="the prices are the lab's own list"),
    Statement("Simulator", ["*"], "iam:SimulatePrincipalPolicy", loses="nobody asks beforehand what you may do"),
    Statement("OtherNames", ["*"], "tag:GetResources", loses="only things with the lab's name are searched for"),
    Statement(
        "PublicPages",
        ["*"],
        "s3:GetAccountPublicAccessBlock organizations:DescribeEffectivePolicy",
        loses="nobody says who forbids a public page",
    ),
]
"""All statements. A call that creates something with tags also asks for TagResource, or TagRole."""

NEEDED = [statement for statement in STATEMENTS if not statement.loses]
POLICIES = {
    ROOT / "docs" / "aws-policy.json": NEEDED,
    ROOT / "docs" / "aws-policy-optional.json": [statement for statement in STATEMENTS if statement.loses],
}
"""What each lab needs, and what the lab can do without."""


class Need(NamedTuple):
    """One action on one resource, as IAM's policy simulator asks for it."""

    action: str
    resource: str
    context: tuple[tuple[str, str], ...]
    """The keys, and their values, that the conditions of the lab's policy ask for."""
    loses: str = ""
    """What you lose without it; "" if the lab can't do without."""

    @property
    def service(self) -> str:
        """The service, as the action names it."""
        return self.action.partition(":")[0]


def policy(
    name: str = DEFAULT_NAME, statements: Sequence[Statement] = STATEMENTS, role_path: str = "/"
) -> dict[str, Any]:
    """The policy for a person who runs a lab called `name`, in any Region, account and partition.

    Its roles have this path.
    """
    names = {
        "partition": "*", "region": "*", "account_id": "*", "name": name, "role": f"{name}-lambda-*",
        "switch_role": f"{name}-switch-*", "bucket": f"{name}-page-*", "load_test_bucket": f"{name}-load-*",
        "any": "*", "arn": "*", "path": role_path,
    }  # fmt: skip
    return {"Version": "2012-10-17", "Statement": [statement.fill(**names) for statement in statements]}


def list_needs(lab: "Lab", unused: Collection[str] = ()) -> list[Need]:
    """What you need for this lab, in the form in which you can ask the policy simulator.

    `unused` are losses that you don't mind: `HOURS`, `EMAIL`. Each question has all the keys that the lab's own policy
    asks about: one that is missing makes the simulator unsure, also if another statement asks.
    """
    names = {
        "partition": lab.partition, "region": lab.region, "account_id": lab.account_id, "name": lab.name,
        "role": lab.role, "switch_role": lab.switch_role, "bucket": lab.bucket, "any": "any", "arn": "",
        "load_test_bucket": lab.load_test_bucket, "path": lab.options.role_path,
    }  # fmt: skip
    filled = [(statement.fill(**names), statement.loses) for statement in STATEMENTS if statement.loses not in unused]
    own = [dict(pair for keys in each.get("Condition", {}).values() for pair in keys.items()) for each, _ in filled]
    every = {key: value for keys in own for key, value in keys.items()}
    return [
        Need(
            action, resource if resource == "*" else resource.replace("*", "any"), tuple((every | keys).items()), loses
        )
        for (each, loses), keys in zip(filled, own, strict=True)
        for resource in each["Resource"]
        for action in each["Action"]
    ]


def to_text(document: dict[str, Any]) -> str:
    """A policy as text, one action a line; what holds one thing alone is on one line."""
    text = json.dumps(document, indent=2)
    for _ in range(2):
        text = re.sub(r"([\[{])\s+([^\n]*)\s+([\]}])", r"\1\2\3", text)
    return text + "\n"


def main(names: Sequence[str]) -> int:
    """Renew the files of `POLICIES`, for a lab called `chat`, or print those of another lab; the exit status."""
    if len(names) > 2:
        raise LabError("You can give one lab's NAME and its ROLE_PATH: python -m chatlab permissions NAME ROLE_PATH")
    name = Settings(name=names[0]).name if names else DEFAULT_NAME
    path_of_roles = Options.parse(given={"ROLE_PATH": names[1]} if names[1:] else {}).role_path
    for path, statements in POLICIES.items():
        if names:
            print(f"{path.name} for the lab {name}:\n{to_text(policy(name, statements, path_of_roles))}")
        else:
            path.write_text(to_text(policy(name, statements)))
    return 0
