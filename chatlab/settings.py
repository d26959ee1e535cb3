"""Which lab is meant: its target, name, Region and profile, resolved once and checked."""

import os
import re
import shlex
from dataclasses import dataclass
from functools import cache

import boto3
import botocore.session

from chatlab.credentials import explain_errors, explaining
from chatlab.errors import LabError
from chatlab.privacy import REDACTED, redact

TARGETS = ("local", "aws")
DEFAULT_NAME = "chat"
LOCAL_REGION = "us-east-1"  # of the local cloud, unless another one is asked for; on aws no Region is ever guessed

# The name is a prefix of the bucket's, so S3's rules apply; 20 characters leave room for the rest of it in 63.
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
# A table has just this name, which takes three characters.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html
NAME = re.compile(r"(?!xn--|sthree-|amzn-s3-demo-)[a-z](?:[a-z0-9]|-(?!-)){1,18}[a-z0-9]")


@dataclass(frozen=True)
class Settings:
    """A lab's target, name, Region, and profile of the AWS configuration (None: the shell's credentials)."""

    target: str = "local"
    name: str = DEFAULT_NAME
    region: str = LOCAL_REGION
    profile: str | None = None

    def __post_init__(self):
        """Raises LabError for a target, name or Region that can't be."""
        if self.target not in TARGETS:
            raise LabError(f'The target is "{self.target}", but it has to be "local" or "aws".')
        if not NAME.fullmatch(self.name):
            raise LabError(
                f"The name \"{self.name}\" can't begin a bucket's name: take 3 to 20 lower-case letters, digits and "
                "single hyphens, beginning with a letter and not ending with a hyphen."
            )
        if self.region not in partitions():
            raise LabError(f'There is no AWS Region "{self.region}" with WebSocket APIs: take one such as us-east-1.')

    @classmethod
    def resolve(cls, target=None, name=None, region=None, profile=None):
        """The settings that are meant: what is given, and where that is None, the local lab `chat`.

        On `aws`, a profile and a Region that are not given are those of the shell: `AWS_PROFILE`, and `AWS_REGION` or
        `AWS_DEFAULT_REGION` before the Region of the profile. Raises LabError for what can't be, and on `aws` if no
        Region is named anywhere.
        """
        target, name = target or "local", name or DEFAULT_NAME
        if target != "aws":
            return cls(target, name, region or LOCAL_REGION)
        cls(target, name)  # a wrong name is said before anything is asked of the configuration
        profile = profile or os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE")
        # boto3 itself does not read AWS_REGION, which all other SDKs and the AWS command line put first.
        region = region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        region = region or aws_session(profile_name=profile).region_name
        if not region:
            raise LabError(
                "No AWS Region is named: give REGION=, for example REGION=us-east-1, or set one with `aws configure`."
            )
        return cls(target, name, region, profile)

    def __str__(self):
        where = "the local cloud" if self.target == "local" else f"AWS, {self.region}"
        return f"The lab {self.name} on {where}"

    def make_command(self, goal):
        """The command for this very lab, such as `make down TARGET=aws NAME=demo REGION=eu-west-1 PROFILE=work`.

        A profile that is named after its account is masked, and still understood: see `resolve_profile`.
        """
        options = {}
        if self.target == "aws":
            options = {"TARGET": self.target, "NAME": self.name, "REGION": self.region, "PROFILE": self.profile}
        elif self.name != DEFAULT_NAME:
            options = {"NAME": self.name}
        given = [f"{key}={shlex.quote(value)}" for key, value in options.items() if value]
        return redact(" ".join(["make", goal, *given]))

    @property
    def parameters(self):
        """The same for the cells of the notebooks that are tagged `parameters`."""
        region = None if self.target == "local" and self.region == LOCAL_REGION else self.region
        return {"TARGET": self.target, "NAME": self.name, "REGION": region, "PROFILE": self.profile}


def resolve_profile(text):
    """The profile of the AWS configuration that is meant by its name, or by its name as a command shows it, masked.

    Raises LabError for a masked name that is no profile's, or that several could have.
    """
    if REDACTED not in text:
        return text
    meant = [name for name in aws_session().available_profiles if redact(f"PROFILE={name}") == f"PROFILE={text}"]
    if len(meant) != 1:
        raise LabError(
            f"{len(meant)} profiles of your AWS configuration could be {text}: give PROFILE= with the account's digits."
        )
    return meant[0]


@cache
def partitions():
    """The partition of each Region with WebSocket APIs: read once, because botocore's list takes half a second."""
    session = session_without_profile()
    return {
        region: partition
        for partition in session.get_available_partitions()
        for region in session.get_available_regions("apigatewayv2", partition_name=partition)
    }


def session_without_profile(**options):
    """A boto3 session that sets the shell's profile aside: it may not exist, or be real."""
    core = botocore.session.Session(session_vars={"profile": (None, [], None, None)})
    return boto3.Session(botocore_session=core, **options)


def aws_session(profile_name=None, region_name=None):
    """A boto3 session of the AWS configuration, whose errors are explained: see `chatlab.credentials`.

    Raises LabError where the configuration can't be used.
    """
    core = botocore.session.Session(profile=profile_name)
    with explaining(core):  # a profile that does not exist, a configuration file that can't be read
        return explain_errors(boto3.Session(botocore_session=core, region_name=region_name))
