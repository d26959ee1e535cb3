"""Whether a bucket of the account may be public, and if not, who forbids it and what to do.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html
"""

from botocore.exceptions import ClientError

from chatlab.lab import Lab

BY_ACCOUNT = (
    "Your account blocks public access to all of its buckets. Whoever looks after it can allow bucket policies to open "
    "one: in the console, S3, Block Public Access settings for this account, the last two boxes."
)
BY_ORGANISATION = (
    "Your organisation forbids public buckets, by an S3 policy or a service control policy. Who administers it can "
    "exempt an account."
)
BY_EITHER = (
    f"Your account, or the organisation that it belongs to, forbids public buckets. {BY_ACCOUNT.partition('. ')[2]}"
)

NO_POLICY = frozenset({"AWSOrganizationsNotInUseException", "EffectivePolicyNotFoundException"})


def why_forbidden(lab: Lab) -> str:
    """A sentence if no bucket of the account may be public by a policy; "" if one may, or if you may not ask."""
    try:
        return ask_why_forbidden(lab)
    except ClientError:
        return ""


def ask_why_forbidden(lab: Lab) -> str:
    """The same, but raises ClientError if you may not ask for the account's settings."""
    try:
        answer = lab.client("s3control").get_public_access_block(AccountId=lab.account_id)
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchPublicAccessBlockConfiguration":
            raise
        return ""
    # What is in force: an organisation's settings are in here, too.
    block = answer["PublicAccessBlockConfiguration"]
    if not block.get("BlockPublicPolicy") and not block.get("RestrictPublicBuckets"):
        return ""
    try:
        policy = lab.client("organizations").describe_effective_policy(PolicyType="S3_POLICY")["EffectivePolicy"]
    except ClientError as error:
        return BY_ACCOUNT if error.response["Error"]["Code"] in NO_POLICY else BY_EITHER
    return BY_ORGANISATION if '"all"' in policy["PolicyContent"] else BY_ACCOUNT


def why_refused(refusal: str) -> str:
    """The same sentence for what S3 says when it refuses a public policy; "" if something else is the reason."""
    if "service control policy" in refusal or "resource control policy" in refusal:
        return BY_ORGANISATION
    return BY_EITHER if "BlockPublicPolicy" in refusal else ""
