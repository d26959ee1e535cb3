"""Which lab you mean: its target, name, Region and profile, and what you ask of it; and its environment variables."""

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

from chatlab.aws import aws_session, partitions
from chatlab.errors import LabError
from chatlab.privacy import redact

TARGETS = ("local", "aws")
DEFAULT_NAME = "chat"
PARTITIONS = ("aws", "aws-cn", "aws-us-gov")  # nobody has looked at what the others have and how they differ
MAX_HOURS = 30 * 24  # a chat that is to be closed later than this would be forgotten
LOCAL_REGION = "us-east-1"  # of the local cloud, unless you give another one; on aws the lab never guesses a Region

# The name begins the bucket's name, so S3's rules apply; 20 characters leave room for the rest of the 63.
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
# It is the table's whole name, which needs three characters.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html
NAME_PATTERN = re.compile(r"(?!xn--|sthree-|amzn-s3-demo-)[a-z](?:[a-z0-9]|-(?!-)){1,18}[a-z0-9]")


class Variable(StrEnum):
    """The lab's environment variables. You may set them; a run sets some for the processes that it starts.

    (A rehearsal has some of its own: see `chatlab.emulator.rehearsal`.)
    """

    TARGET = "CHATLAB_TARGET"  # the commands' default for `--target`
    NAME = "CHATLAB_NAME"  # the commands' default for `--name`
    ROOM_KEY = "CHATLAB_ROOM_KEY"  # the commands' default for `--room-key`
    HOME = "CHATLAB_HOME"  # the folder with the lab's state, by default `.chatlab`
    LEDGER = "CHATLAB_LEDGER"  # the folder with the list of open labs, by default `labs` in the one with the state
    RUN = "CHATLAB_RUN"  # the folder for the results of a run
    UNTIL = "CHATLAB_UNTIL"  # a file that the run holds a lock on: its local cloud ends when the lock is free
    CERTIFICATE = "CHATLAB_CERTIFICATE"  # a folder with a certificate for the local cloud, which then speaks TLS
    TRAITS = "CHATLAB_TRAITS"  # which of AWS's traits the local cloud has: docs/rehearsal.md
    POLICY = "CHATLAB_POLICY"  # a file with the policy of the local cloud's user, who is an administrator by default
    RECORD = "CHATLAB_RECORD"  # a file into which the local cloud writes what its user asks for
    BROWSER_ARGUMENTS = "CHATLAB_BROWSER_ARGUMENTS"  # more arguments for the browser, with spaces between

    def get(self) -> str | None:
        """Its value; None if it is not set, or empty."""
        return os.environ.get(self) or None

    def path(self) -> Path | None:
        """Its value as a path; None if it is not set, or empty."""
        return Path(value) if (value := self.get()) else None

    def set(self, value: str | Path) -> None:
        """Set it for this process, and for all that this process starts from now on."""
        os.environ[self] = str(value)


@dataclass(frozen=True)
class Settings:
    """A lab's target, name, Region, and profile of your AWS configuration (None: the shell's credentials)."""

    target: str = "local"
    name: str = DEFAULT_NAME
    region: str = LOCAL_REGION
    profile: str | None = None

    def __post_init__(self) -> None:
        """Raises LabError for an impossible target, name or Region."""
        if self.target not in TARGETS:
            raise LabError(f'The target is "{self.target}", but it has to be "local" or "aws".')
        if not NAME_PATTERN.fullmatch(self.name):
            raise LabError(
                f"The name \"{self.name}\" can't begin a bucket's name: take 3 to 20 lower-case letters, digits and "
                "single hyphens, beginning with a letter and not ending with a hyphen."
            )
        if self.region not in partitions():
            raise LabError(f'There is no AWS Region "{self.region}" with WebSocket APIs: take one such as us-east-1.')
        if (partition := partitions()[self.region].name) not in PARTITIONS:
            raise LabError(
                f'The Region "{self.region}" belongs to {partition}, a part of AWS that nobody has looked at for this '
                f"lab: take a Region of {', '.join(PARTITIONS)}, such as us-east-1."
            )

    @classmethod
    def resolve(
        cls, target: str | None = None, name: str | None = None, region: str | None = None, profile: str | None = None
    ) -> "Settings":
        """The settings that you give; the default of what you leave out is the local lab `chat`.

        On `aws` the shell's profile and Region are the defaults: `AWS_PROFILE`, and `AWS_REGION` or
        `AWS_DEFAULT_REGION` before the Region of the profile. Raises LabError for impossible settings, and on `aws` if
        nothing names a Region.
        """
        target, name = target or "local", name or DEFAULT_NAME
        if target != "aws":
            return Settings(target, name, region or LOCAL_REGION)
        Settings(target, name)  # a wrong name is an error before the configuration is read
        profile = profile or os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE")
        # boto3 itself does not read AWS_REGION, which all other SDKs and the AWS command line put first.
        region = region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        region = region or aws_session(profile_name=profile).region_name
        if not region:
            raise LabError(
                "No AWS Region is named: give REGION=, for example REGION=us-east-1, or set one with `aws configure`."
            )
        return Settings(target, name, region, profile)

    def __str__(self) -> str:
        where = "the local cloud" if self.target == "local" else f"AWS, {self.region}"
        return f"The lab {self.name} on {where}"

    def make_command(self, goal: str) -> str:
        """The command for this very lab, such as `make down TARGET=aws NAME=demo REGION=eu-west-1 PROFILE=work`.

        A profile that is named after its account is redacted, and still understood: see `resolve_profile`.
        """
        options: dict[str, str | None] = {}
        if self.target == "aws":
            options = {"TARGET": self.target, "NAME": self.name, "REGION": self.region, "PROFILE": self.profile}
        elif self.name != DEFAULT_NAME:
            options = {"NAME": self.name}
        given = [f"{key}={shlex.quote(value)}" for key, value in options.items() if value]
        return redact(" ".join(["make", goal, *given]))

    @property
    def parameters(self) -> dict[str, str | None]:
        """The same for the cells of the notebooks that are tagged `parameters`."""
        region = None if self.target == "local" and self.region == LOCAL_REGION else self.region
        return {"TARGET": self.target, "NAME": self.name, "REGION": region, "PROFILE": self.profile}


@dataclass(frozen=True)
class Options:
    """What you may ask of a lab when you choose it. The ledger keeps it for the other notebooks."""

    hours: float | None = None
    """After how many hours AWS is to close chat and page; None for never."""
    boundary: str | None = None
    """The ARN of the permissions boundary that the roles get."""
    role_path: str = "/"
    """The path of the roles, which is part of their ARNs."""
    tags: dict[str, str] = field(default_factory=dict)
    """What everything carries beside the lab's own tags."""
    public: bool = True
    """Whether the page's bucket may be public."""
    confirm: str | None = None
    """The lab's name if its things may also be changed and removed where a colleague made them."""

    def __post_init__(self) -> None:
        """Raises LabError for impossible hours."""
        if self.hours is not None and not 0 < self.hours <= MAX_HOURS:
            raise LabError(
                f"HOURS is {self.hours}: it has to be a number of hours above 0, {MAX_HOURS} at most, or None."
            )

    @classmethod
    def parse(cls, hours: float | None = None, given: Mapping[str, Any] = MappingProxyType({})) -> "Options":
        """Those that you `given` as the words of WORDS. Raises LabError, with one sentence, for any that is wrong."""
        for word, text in given.items():
            if word not in WORDS:
                raise LabError(f'There is no option "{word}": there are {", ".join(WORDS)}.')
            pattern, form = WORDS[word]
            if not re.fullmatch(pattern, str(text)):
                raise LabError(f'{word} is "{text}": it has to be {form}.')
        return cls(
            hours,
            boundary=given.get("BOUNDARY"),
            role_path=given.get("ROLE_PATH", "/"),
            tags=dict(tag.split("=", 1) for tag in given.get("TAGS", "").split(",") if tag),
            public=given.get("PUBLIC") != "no",
            confirm=given.get("CONFIRM"),
        )


NO_OPTIONS = Options()
# What all services take in a tag: IAM and S3 take no other signs, Scheduler no empty value; `aws:` is AWS's own.
# https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html
_TAG = r"(?!(?i:aws:|chatlab))[\w .:/+@-]{1,128}=[\w .:/=+@-]{1,256}"
WORDS = {
    "BOUNDARY": (r"arn:aws[a-z-]*:iam::(\d{12}|aws):policy/[\w+=,.@/-]+", "the ARN of a managed policy"),
    # Lambda and Scheduler take no other signs in a role's ARN. So long the lab's policy fits into a managed one.
    "ROLE_PATH": (r"(?a)(?=.{1,64}$)/([\w+=,.@-]+/)*", "like /lab/, with 64 characters at most"),
    "TAGS": (rf"{_TAG}(,{_TAG}){{0,39}}", "like team=web,cost-center=42, and no tag of AWS's or of the lab's own"),
    "PUBLIC": ("yes|no", "yes or no"),
    "CONFIRM": (NAME_PATTERN.pattern, "the lab's NAME"),
}
"""The words for `Options` in notebook 00 and on the command line: the pattern of each, and how that is said."""
