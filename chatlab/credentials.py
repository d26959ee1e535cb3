"""Explain what AWS refuses, and what stands between it and this machine, in a sentence that says what to do.

    session = credentials.explain_errors(boto3.Session(profile_name="work"))

From then on every call of every client of this session raises LabError if the credentials, the clock, the Region or the
network is the reason of the failure, in any notebook's cell and in any command, instead of an error that names none of
them.
"""

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore import exceptions
from botocore.exceptions import BotoCoreError, ClientError

from chatlab.errors import LabError

Core = botocore.session.Session  # what a boto3 session is built on

GUIDE = "docs/aws.md"

# Error codes, of which the services have several for the same thing: AWS's common ones, and S3's own.
# https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"})
UNKNOWN = frozenset({"InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId", "InvalidToken"})
WRONG_SIGNATURE = frozenset({"SignatureDoesNotMatch", "InvalidSignatureException", "RequestTimeTooSkewed"})
MISSING = frozenset({"MissingAuthenticationToken", "MissingAuthenticationTokenException"})
NOT_SUBSCRIBED = frozenset({"OptInRequired", "SubscriptionRequiredException", "NotSignedUp"})
DENIED = frozenset({"AccessDenied", "AccessDeniedException"})

NOT_SIGNED_IN = (
    exceptions.UnauthorizedSSOTokenError,
    exceptions.SSOTokenLoadError,
    exceptions.TokenRetrievalError,
    exceptions.LoginRefreshRequired,
    exceptions.LoginTokenLoadError,
)
NOT_CONFIGURED = (
    exceptions.ProfileNotFound,
    exceptions.ConfigParseError,
    exceptions.InvalidConfigError,
    exceptions.MissingDependencyException,
)
NO_ANSWER = (
    exceptions.EndpointConnectionError,
    exceptions.ConnectTimeoutError,
    exceptions.ConnectionClosedError,
    exceptions.ReadTimeoutError,
)

# Regions that are on in every account; every other one of the partition `aws` has to be switched on first.
# https://docs.aws.amazon.com/accounts/latest/reference/manage-acct-regions.html
ALWAYS_ON = frozenset(
    "ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-south-1 ap-southeast-1 ap-southeast-2 ca-central-1 eu-central-1"
    " eu-north-1 eu-west-1 eu-west-2 eu-west-3 sa-east-1 us-east-1 us-east-2 us-west-1 us-west-2".split()
)
MAX_SKEW_S = 5 * 60  # what AWS allows a clock to be wrong


def explain_errors(session: boto3.Session) -> boto3.Session:
    """Let the clients of `session` raise LabError if `explain` has a sentence for what went wrong, and return it.

    Clients get one method more in front of botocore's: https://docs.aws.amazon.com/boto3/latest/guide/events.html
    """
    core = session._session
    _require_no_code(core)

    class Explained:
        meta: Any  # botocore's, which makes a client's class when it runs

        def _make_api_call(self, operation_name: str, api_params: dict[str, Any]) -> Any:
            with explaining(core, self.meta.region_name):
                client: Any = super()  # the class that botocore puts behind this one
                return client._make_api_call(operation_name, api_params)

    def put_first(base_classes: list[type], **_: object) -> None:
        base_classes.insert(0, Explained)

    session.events.register("creating-client-class", put_first)
    return session


@contextmanager
def explaining(core: Core, region: str | None = None) -> Iterator[None]:
    """Raises what `explain` returns for an error of botocore's within."""
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise explain(error, core, region) from None


def explain(error: BotoCoreError | ClientError, core: Core, region: str | None = None) -> Exception:
    """The LabError that says what `error` means and what to do; `error` itself if it is clear enough.

    A ClientError for want of a permission stays what it is, with a sentence more.

    Args:
        core: the botocore session, whose profile says how you sign in.
        region: the Region that was asked.
    """
    if isinstance(error, ClientError):
        return _refused(error, core, region)
    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        return LabError(f"There are no AWS credentials{_of_profile(core)}: {sign_in(core)}, and try again.")
    if isinstance(error, NOT_SIGNED_IN):
        profile = f" with the profile {core.profile}" if core.profile else ""
        return LabError(f"You are not, or no longer, signed in to AWS{profile}: {sign_in(core)}, and try again.")
    if isinstance(error, exceptions.LoginInsufficientPermissions):
        return LabError(
            "Credentials of `aws login` need the permission signin:CreateOAuth2Token (the managed policy "
            "SignInLocalDevelopmentAccess): ask for it, or use other credentials."
        )
    if isinstance(error, exceptions.CredentialRetrievalError | exceptions.LoginError | exceptions.SSOError):
        return LabError(f"There is no way to get AWS credentials{_of_profile(core)} ({_text(error)}): {sign_in(core)}.")
    if isinstance(error, NOT_CONFIGURED):
        return LabError(f"The AWS configuration can't be used: {_text(error)}. {_profiles(core)}")
    if isinstance(error, exceptions.ProxyConnectionError):
        return LabError(
            f"The proxy {_host(error.kwargs.get('proxy_url'))} can't be reached: HTTPS_PROXY names it; set that right, "
            "or unset it where none is needed."
        )
    if isinstance(error, exceptions.SSLError):
        return LabError(
            f"This machine does not trust who answers as {_host(error.kwargs.get('endpoint_url'))}. If a proxy of your "
            "company stands in between, set AWS_CA_BUNDLE to the file of its certificate (PEM)."
        )
    if isinstance(error, NO_ANSWER):
        return LabError(
            f"AWS does not answer at {_host(error.kwargs.get('endpoint_url'))}: is there a network, and if it has a "
            "proxy, does HTTPS_PROXY name it?"
        )
    return error


def sign_in(core: Core) -> str:
    """How you get new credentials for this profile: "run `aws sso login --profile work`"."""
    explicit = core.instance_variables().get("profile")
    if not explicit and os.environ.get("AWS_ACCESS_KEY_ID"):
        token = ", AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN" if "AWS_SESSION_TOKEN" in os.environ else ""
        return f"set AWS_ACCESS_KEY_ID{token or ' and AWS_SECRET_ACCESS_KEY'} anew"
    name, profile = _source(core)
    option = "" if name == "default" else f" --profile {shlex.quote(name)}"
    if "sso_session" in profile or "sso_start_url" in profile:
        return f"run `aws sso login{option}`"
    if "login_session" in profile:
        return f"run `aws login{option}`"
    if "credential_process" in profile:
        return f"make sure that the credential_process of the profile {name} works"
    if "web_identity_token_file" in profile:
        return f"renew the file that web_identity_token_file of the profile {name} names"
    if "aws_session_token" in profile:
        return f"write new temporary keys into the profile {name}"
    if "aws_access_key_id" in profile:
        return f"run `aws configure{option}`"
    return f"run `aws login{option}` or `aws configure sso{option}` ({GUIDE} shows the ways to sign in)"


def _require_no_code(core: Core) -> None:
    """Raises LabError for a profile that asks for a device's code each time, which a notebook's kernel can't do."""
    name = core.profile or "default"
    asks = core.full_config.get("profiles", {}).get(name, {})
    if "mfa_serial" in asks and "role_arn" in asks:
        raise LabError(
            f"The profile {name} asks for a code each time, which a notebook can't. Type it once and go on without "
            f'PROFILE=: eval "$(aws configure export-credentials --profile {shlex.quote(name)} --format env)"'
        )


def _refused(error: ClientError, core: Core, region: str | None) -> Exception:
    answer = error.response.get("Error", {})
    code, message = answer.get("Code", ""), answer.get("Message", "")
    if code in WRONG_SIGNATURE | EXPIRED and (skew := _skew(error, code, message)):
        return LabError(f"This machine's clock is wrong{skew}, so that AWS refuses what it signs: set the clock.")
    if code in EXPIRED:
        return LabError(f"{_yours('AWS credentials', core)} have expired: {sign_in(core)}, and try again.")
    if code in UNKNOWN:
        off = f"the Region {region} is not switched on in your account (AWS console, Account, AWS Regions), or "
        return LabError(
            f"AWS does not know {_yours('credentials', core, 'the')}: {off if _is_optional(region) else ''}the access "
            f"key or its session token is wrong, inactive or deleted; {sign_in(core)}, and try again."
        )
    if code in WRONG_SIGNATURE:
        return LabError(
            f"{_yours('secret access key', core)} does not belong to its access key: {sign_in(core)}, and try again."
        )
    if code in MISSING:
        return LabError(f"There are no AWS credentials{_of_profile(core)}: {sign_in(core)}, and try again.")
    if code in NOT_SUBSCRIBED:
        return LabError(
            "This AWS account can't be used yet: its sign-up is not complete (a new account takes up to 24 hours), or "
            "it is suspended. Sign in to the AWS console, where it says what is missing."
        )
    # botocore raises the same error once more if a role could not be assumed.
    if code in DENIED and _why_denied(message) not in str(error):
        error.args = (f"{_text(error)}. {_why_denied(message)}",)
    return error


def _why_denied(message: str) -> str:
    """What to do about a missing permission, by the kind of policy that AWS names as the reason.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
    """
    if "service control policy" in message or "resource control policy" in message:
        return "Your organisation forbids this: ask its administrators, or use another account."
    if "permissions boundary" in message:
        return "Your permissions boundary forbids this: ask the administrators of the account."
    return f"{GUIDE} says which permissions the lab needs."


def _skew(error: ClientError, code: str, message: str) -> str:
    """How wrong this machine's clock is, if that is the reason: " (43 minutes behind AWS's)"; "" if it is not."""
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    try:
        ahead_s = (datetime.now(UTC) - parsedate_to_datetime(headers.get("date", ""))).total_seconds()
    except (TypeError, ValueError):
        ahead_s = 0.0
    if abs(ahead_s) > MAX_SKEW_S:
        return f" ({abs(ahead_s) / 60:.0f} minutes {'ahead of' if ahead_s > 0 else 'behind'} AWS's)"
    is_skewed = (
        code == "RequestTimeTooSkewed" or "Signature expired" in message or "Signature not yet current" in message
    )
    return " (more than five minutes)" if is_skewed else ""


def _is_optional(region: str | None) -> bool:
    """Whether the Region, of the partition `aws`, has to be switched on in an account."""
    if not region:
        return False
    return region not in ALWAYS_ON and not region.startswith(("cn-", "us-gov-"))


def _source(core: Core) -> tuple[str, dict[str, str]]:
    """The name and the settings of the profile with the credentials: of an assumed role, the role's source."""
    profiles = core.full_config.get("profiles", {})
    name = core.profile or "default"
    seen: set[str] = set()
    while (source := profiles.get(name, {}).get("source_profile")) and source not in seen:
        seen.add(name)
        if source == name:
            break
        name = source
    return name, profiles.get(name, {})


def _of_profile(core: Core) -> str:
    return f" of the profile {core.profile}" if core.profile else ""


def _yours(what: str, core: Core, the: str = "The") -> str:
    return f"{the} {what}{_of_profile(core)}" if core.profile else f"{'Your' if the == 'The' else 'your'} {what}"


def _profiles(core: Core) -> str:
    """Which profiles there are."""
    try:
        names = ", ".join(core.available_profiles)
    except BotoCoreError:
        return f"{GUIDE} shows how to set one up."
    return f"Your profiles: {names}." if names else f"There are no profiles: {GUIDE} shows how to set one up."


def _text(error: Exception) -> str:
    return str(error).strip().rstrip(".")


def _host(url: str | None) -> str:
    """A URL's host, without the password that a proxy's may have."""
    return urlsplit(url or "").hostname or "its address"
