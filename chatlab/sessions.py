"""boto3 sessions, of your AWS configuration or without it, and what botocore knows of Regions."""

from functools import cache
from typing import Any

import boto3
import botocore.session

from chatlab.credentials import explain_errors, explaining
from chatlab.errors import LabError
from chatlab.privacy import REDACTED, redact


def aws_session(profile_name: str | None = None, region_name: str | None = None) -> boto3.Session:
    """A boto3 session of your AWS configuration, whose errors are explained: see `chatlab.credentials`.

    Raises LabError if the configuration can't be used.
    """
    core = botocore.session.Session(profile=profile_name)
    with explaining(core):  # the profile does not exist, or a configuration file can't be read
        return explain_errors(boto3.Session(botocore_session=core, region_name=region_name))


def session_without_profile(
    region_name: str | None = None, aws_access_key_id: str | None = None, aws_secret_access_key: str | None = None
) -> boto3.Session:
    """A boto3 session that ignores the shell's profile: it may not exist, or be of a real account."""
    core = botocore.session.Session(session_vars={"profile": (None, [], None, None)})
    return boto3.Session(
        botocore_session=core,
        region_name=region_name,
        aws_access_key_id=aws_access_key_id,
        aws_secret_access_key=aws_secret_access_key,
    )


def let_waiters_ask_often(base_classes: list[type], **_: object) -> None:
    """Let the waiters of a client that is being made ask 20 times as often as botocore's, and give up no sooner.

    For botocore's event `creating-client-class`: https://docs.aws.amazon.com/boto3/latest/guide/events.html
    The local cloud has done in a second at most what a waiter asks AWS for once a second.
    """
    base_classes.insert(0, _AskingOften)


class _AskingOften:
    TIMES = 20

    def get_waiter(self, waiter_name: str) -> Any:
        client: Any = super()  # the class that botocore puts behind this one
        waiter = client.get_waiter(waiter_name)
        waiter.config.delay /= self.TIMES
        waiter.config.max_attempts *= self.TIMES
        return waiter


def resolve_profile(text: str) -> str:
    """The profile of your AWS configuration with this name, which may be redacted, as a command shows it.

    Raises LabError for a redacted name that is no profile's, or that could be several profiles'.
    """
    if REDACTED not in text:
        return text
    matching = [name for name in aws_session().available_profiles if redact(f"PROFILE={name}") == f"PROFILE={text}"]
    if len(matching) != 1:
        raise LabError(
            f"{len(matching)} profiles of your AWS configuration could be {text}: give PROFILE= with the account's "
            "digits."
        )
    return matching[0]


@cache
def partitions() -> dict[str, str]:
    """The partition of each Region with WebSocket APIs: read once, because botocore's list takes half a second."""
    session = session_without_profile()
    return {
        region: partition
        for partition in session.get_available_partitions()
        for region in session.get_available_regions("apigatewayv2", partition_name=partition)
    }
