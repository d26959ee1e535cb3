"""Who forbids public buckets, if they are forbidden. AWS's answers are played by botocore's Stubber."""

import boto3
import pytest
from botocore.stub import Stubber

from chatlab import preflight
from chatlab.preflight import BY_ACCOUNT, BY_EITHER, BY_ORGANISATION

OPEN = {"BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": False, "RestrictPublicBuckets": False}
NOT_IN_ONE = ("AWSOrganizationsNotInUseException", "Your account is not a member of an organization.")
BLOCKED = '{"s3_attributes":{"public_access_block_configuration":"all"}}'


class Played:
    """A lab with these answers: a dict, or an error's code and message."""

    account_id = "123456789012"

    def __init__(self, block, policy=None):
        self._answers = {
            "s3control": ("get_public_access_block", "PublicAccessBlockConfiguration", block),
            "organizations": ("describe_effective_policy", "EffectivePolicy", policy),
        }

    def client(self, service):
        client = boto3.client(service, "us-east-1", aws_access_key_id="nobody", aws_secret_access_key="nothing")
        operation, key, answer = self._answers[service]
        stubber = Stubber(client)
        if isinstance(answer, dict):
            stubber.add_response(operation, {key: answer})
        else:
            stubber.add_client_error(operation, *answer)
        stubber.activate()
        return client


@pytest.mark.parametrize(
    ("block", "policy", "sentence"),
    [
        (("NoSuchPublicAccessBlockConfiguration", "none"), None, ""),
        (("AccessDenied", "you may not see it"), None, ""),
        (OPEN, None, ""),
        (OPEN | {"BlockPublicPolicy": True}, NOT_IN_ONE, BY_ACCOUNT),
        (OPEN | {"RestrictPublicBuckets": True}, ("EffectivePolicyNotFoundException", "none"), BY_ACCOUNT),
        (OPEN | {"BlockPublicPolicy": True}, {"PolicyContent": BLOCKED}, BY_ORGANISATION),
        (OPEN | {"BlockPublicPolicy": True}, {"PolicyContent": BLOCKED.replace("all", "none")}, BY_ACCOUNT),
        (OPEN | {"BlockPublicPolicy": True}, ("AccessDeniedException", "you may not see it"), BY_EITHER),
    ],
)
def test_what_is_in_force_for_the_account_says_it(block, policy, sentence):
    assert preflight.why_forbidden(Played(block, policy)) == sentence


@pytest.mark.parametrize(
    ("refusal", "sentence"),
    [
        (
            "because public policies are prevented by the BlockPublicPolicy setting in S3 Block Public Access.",
            BY_EITHER,
        ),
        ("to perform: s3:PutBucketPolicy with an explicit deny in a service control policy", BY_ORGANISATION),
        ("because no identity-based policy allows the s3:PutBucketPolicy action", ""),
    ],
)  # fmt: skip
def test_so_does_a_refusal_by_its_text(refusal, sentence):
    assert preflight.why_refused(refusal) == sentence
