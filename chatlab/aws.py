"""boto3 sessions: of your AWS configuration or without it, errors that say what to do, certificates and proxies.

    session = aws_session("work")

Every call of every client of this session raises LabError if your credentials, this machine's clock, the Region or the
network is the reason of a failure: in any notebook's cell and in any command, botocore's error names none of them.
"""

import os
import shlex
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import boto3
import botocore.session
import certifi
from botocore import exceptions
from botocore.exceptions import BotoCoreError, ClientError

from chatlab import record
from chatlab.errors import DENIED, LabError, error_code
from chatlab.privacy import REDACTED, redact

Core = botocore.session.Session  # what a boto3 session is built on

GUIDE = "docs/aws.md"
LOOPBACK = "127.0.0.1,localhost"
MAX_SKEW_S = 5 * 60  # how wrong AWS allows a clock to be

# Error codes: the services have several for the same thing, AWS's common ones and S3's own.
# https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired")
UNKNOWN = ("InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId", "InvalidToken")
WRONG_SIGNATURE = ("SignatureDoesNotMatch", "InvalidSignatureException", "RequestTimeTooSkewed")
MISSING = ("MissingAuthenticationToken", "MissingAuthenticationTokenException")
NOT_SUBSCRIBED = ("OptInRequired", "SubscriptionRequiredException", "NotSignedUp")

# What each error means and what to do. The fields in braces are those of `_Failure`.
NO_CREDENTIALS = "There are no AWS credentials{0.of_profile}: {0.sign_in}, and try again."
WRONG_CLOCK = "This machine's clock is wrong{0.skew}, so that AWS refuses what it signs: set the clock."
# https://docs.aws.amazon.com/STS/latest/APIReference/API_GetSessionToken.html and aws-vault #1056
NOT_FOR_IAM = (
    "IAM does not take your temporary keys{0.of_profile}, although STS does: keys of `aws sts get-session-token` need "
    "the code of an MFA device for IAM. Get them with --serial-number and --token-code, or use other credentials."
)
BY_CODE = (
    dict.fromkeys(MISSING, NO_CREDENTIALS)
    | dict.fromkeys(EXPIRED, "Your AWS credentials{0.of_profile} have expired: {0.sign_in}, and try again.")
    | dict.fromkeys(UNKNOWN, "AWS does not know your credentials{0.of_profile}: {0.region_is_off}the access key or its "
        "session token is wrong, inactive or deleted; {0.sign_in}, and try again.")
    | dict.fromkeys(WRONG_SIGNATURE, "Your secret access key{0.of_profile} does not belong to its access key: "
        "{0.sign_in}, and try again.")
    | dict.fromkeys(NOT_SUBSCRIBED, "This AWS account can't be used yet: its sign-up is not complete (a new account "
        "takes up to 24 hours), or it is suspended. Sign in to the AWS console, where it says what is missing.")
)  # fmt: skip
# The first type that fits counts: some of these are subtypes of later ones.
BY_TYPE: list[tuple[tuple[type[Exception], ...], str]] = [
    ((exceptions.NoCredentialsError, exceptions.PartialCredentialsError), NO_CREDENTIALS),
    (
        (exceptions.UnauthorizedSSOTokenError, exceptions.SSOTokenLoadError, exceptions.TokenRetrievalError,
         exceptions.LoginRefreshRequired, exceptions.LoginTokenLoadError),
        "You are not, or no longer, signed in to AWS{0.with_profile}: {0.sign_in}, and try again.",
    ),
    (
        (exceptions.LoginInsufficientPermissions,),
        "Credentials of `aws login` need the permission signin:CreateOAuth2Token (the managed policy "
        "SignInLocalDevelopmentAccess): ask for it, or use other credentials.",
    ),
    (
        (exceptions.CredentialRetrievalError, exceptions.LoginError, exceptions.SSOError),
        "There is no way to get AWS credentials{0.of_profile} ({0.text}): {0.sign_in}.",
    ),
    (
        (exceptions.ProfileNotFound, exceptions.ConfigParseError, exceptions.InvalidConfigError,
         exceptions.MissingDependencyException),
        "The AWS configuration can't be used: {0.text}. {0.profiles}",
    ),
    (
        (exceptions.ProxyConnectionError,),
        "The proxy {0.host} can't be reached: HTTPS_PROXY names it; set that right, or unset it where none is needed.",
    ),
    (
        (exceptions.SSLError,),
        "This machine does not trust who answers as {0.host}. If a proxy of your company stands in between, set "
        "AWS_CA_BUNDLE to the file of its certificate (PEM).",
    ),
    (
        (exceptions.EndpointConnectionError, exceptions.ConnectTimeoutError, exceptions.ConnectionClosedError,
         exceptions.ReadTimeoutError),
        "AWS does not answer at {0.host}: is there a network, and if it has a proxy, does HTTPS_PROXY name it?",
    ),
]  # fmt: skip
# How you get new credentials, by the first of these settings that the profile has.
BY_SETTING = {
    "sso_session": "run `aws sso login{option}`",
    "sso_start_url": "run `aws sso login{option}`",
    "login_session": "run `aws login{option}`",
    "credential_process": "make sure that the credential_process of the profile {name} works",
    "web_identity_token_file": "renew the file that web_identity_token_file of the profile {name} names",
    "aws_session_token": "write new temporary keys into the profile {name}",
    "aws_access_key_id": "run `aws configure{option}`",
    "": f"run `aws login{{option}}` or `aws configure sso{{option}}` ({GUIDE} shows the ways to sign in)",
}

# Regions that are on in every account; every other one of the partition `aws` has to be switched on first.
# https://docs.aws.amazon.com/accounts/latest/reference/manage-acct-regions.html
ALWAYS_ON = frozenset(
    "ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-south-1 ap-southeast-1 ap-southeast-2 ca-central-1 eu-central-1"
    " eu-north-1 eu-west-1 eu-west-2 eu-west-3 sa-east-1 us-east-1 us-east-2 us-west-1 us-west-2".split()
)


# --- sessions -------------------------------------------------------------------------------------------------------


def aws_session(profile_name: str | None = None, region_name: str | None = None) -> boto3.Session:
    """A boto3 session of your AWS configuration, whose clients raise LabError where `explain` has a sentence.

    Raises LabError if the configuration can't be used, or if the profile asks for a device's code each time.
    """
    core = Core(profile=profile_name)
    with explaining(core):  # the profile does not exist, or a configuration file can't be read
        session = boto3.Session(botocore_session=core, region_name=region_name)
        _require_no_code(core)

    class Explained:
        meta: Any  # botocore's, which makes a client's class when it runs

        def _make_api_call(self, operation_name: str, api_params: dict[str, Any]) -> Any:
            service = self.meta.service_model.service_name
            with explaining(core, self.meta.region_name, service), record.call(service, operation_name) as response:
                client: Any = super()  # the class that botocore puts behind this one
                response |= (answer := client._make_api_call(operation_name, api_params))
                return answer

    def put_first(base_classes: list[type], **_: object) -> None:
        base_classes.insert(0, Explained)

    # https://docs.aws.amazon.com/boto3/latest/guide/events.html
    session.events.register("creating-client-class", put_first)
    return session


def session_without_profile(region_name: str | None = None, **access_key: str) -> boto3.Session:
    """A boto3 session that ignores the shell's profile, which may not exist, or may be of a real account."""
    core = Core(session_vars={"profile": (None, [], None, None)})
    return boto3.Session(botocore_session=core, region_name=region_name, **access_key)


def let_waiters_ask_often(base_classes: list[type], **_: object) -> None:
    """Let a new client's waiters ask 20 times as often as botocore's, and give up no sooner.

    For botocore's event `creating-client-class`: the local cloud needs a second at most for what a waiter asks AWS once
    a second.
    """
    base_classes.insert(0, _AskingOften)


class _AskingOften:
    def get_waiter(self, waiter_name: str) -> Any:
        client: Any = super()  # the class that botocore puts behind this one
        waiter = client.get_waiter(waiter_name)
        waiter.config.delay /= 20
        waiter.config.max_attempts *= 20
        return waiter


def resolve_profile(text: str) -> str:
    """The profile of your AWS configuration with this name, which may be redacted, as a command shows it.

    Raises LabError for a redacted name that fits no profile, or several.
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


class Partition(NamedTuple):
    """A part of AWS, as ARNs name it (aws, aws-cn, aws-us-gov, ...), and what its host names end with."""

    name: str
    dns_suffix: str


@cache
def partitions() -> dict[str, Partition]:
    """The partition of each Region with WebSocket APIs: read once, because botocore's list takes half a second."""
    session = session_without_profile()
    return {
        region: Partition(partition["id"], partition["outputs"]["dnsSuffix"])
        for partition in session._session.get_data("partitions")["partitions"]
        for region in session.get_available_regions("apigatewayv2", partition_name=partition["id"])
    }


# --- errors ---------------------------------------------------------------------------------------------------------


@contextmanager
def explaining(core: Core, region: str | None = None, service: str = "") -> Iterator[None]:
    """Raise what `explain` returns in place of an error of botocore's."""
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise explain(error, core, region, service) from None


def explain(error: BotoCoreError | ClientError, core: Core, region: str | None = None, service: str = "") -> Exception:
    """The LabError that says what `error` means and what to do; `error` itself if it is clear enough.

    An error for want of a permission stays a ClientError, and gets one more sentence.

    Args:
        core: the botocore session, whose profile says how you sign in.
        region: the Region that was asked.
        service: the service that was asked, as botocore names it.
    """
    failure = _Failure(error, core, region)
    if isinstance(error, ClientError):
        code = error_code(error)
        sentence = BY_CODE.get(code)
        if code in WRONG_SIGNATURE + EXPIRED and failure.skew:
            sentence = WRONG_CLOCK
        credentials = core.get_credentials() if code in UNKNOWN and service == "iam" else None
        if credentials and credentials.token:  # STS was asked before
            sentence = NOT_FOR_IAM
        # botocore raises the same error once more if a role could not be assumed.
        if code in DENIED and failure.why_denied not in str(error):
            error.args = (f"{failure.text}. {failure.why_denied}",)
    else:
        sentence = next((sentence for types, sentence in BY_TYPE if isinstance(error, types)), None)
    return LabError(sentence.format(failure)) if sentence else error


@dataclass(frozen=True)
class _Failure:
    """An error, and what the sentences say of it."""

    error: Any  # BotoCoreError or ClientError: each has fields that the other lacks
    core: Core
    region: str | None

    @property
    def text(self) -> str:
        return str(self.error).strip().rstrip(".")

    @property
    def host(self) -> str:
        """Of the proxy or of the service, without the password that a proxy's URL may have."""
        url = self.error.kwargs.get("proxy_url") or self.error.kwargs.get("endpoint_url")
        return urlsplit(url or "").hostname or "its address"

    @property
    def of_profile(self) -> str:
        return f" of the profile {self.core.profile}" if self.core.profile else ""

    @property
    def with_profile(self) -> str:
        return f" with the profile {self.core.profile}" if self.core.profile else ""

    @property
    def profiles(self) -> str:
        """Which profiles there are."""
        try:
            names = ", ".join(self.core.available_profiles)
        except BotoCoreError:
            return f"{GUIDE} shows how to set one up."
        return f"Your profiles: {names}." if names else f"There are no profiles: {GUIDE} shows how to set one up."

    @property
    def sign_in(self) -> str:
        """How you get new credentials for this profile: "run `aws sso login --profile work`"."""
        if not self.core.instance_variables().get("profile") and os.environ.get("AWS_ACCESS_KEY_ID"):
            token = ", AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN" if "AWS_SESSION_TOKEN" in os.environ else ""
            return f"set AWS_ACCESS_KEY_ID{token or ' and AWS_SECRET_ACCESS_KEY'} anew"
        profiles = self.core.full_config.get("profiles", {})
        name = self.core.profile or "default"
        seen: set[str] = set()
        while (source := profiles.get(name, {}).get("source_profile")) and name not in seen:
            seen.add(name)
            name = source  # an assumed role's credentials come from there
        profile = profiles.get(name, {})
        option = "" if name == "default" else f" --profile {shlex.quote(name)}"
        advice = next(advice for setting, advice in BY_SETTING.items() if setting in profile or not setting)
        return advice.format(name=name, option=option)

    @property
    def region_is_off(self) -> str:
        """Half a sentence if the Region has to be switched on in an account."""
        region = self.region or ""
        if not region or region in ALWAYS_ON or region.startswith(("cn-", "us-gov-", "aws-")):
            return ""
        return f"the Region {region} is not switched on in your account (AWS console, Account, AWS Regions), or "

    @property
    def skew(self) -> str:
        """How wrong this machine's clock is, if that is the reason: " (43 minutes behind AWS's)"; "" if it is not."""
        headers = self.error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        try:
            ahead_s = (datetime.now(UTC) - parsedate_to_datetime(headers.get("date", ""))).total_seconds()
        except (TypeError, ValueError):
            ahead_s = 0.0
        if abs(ahead_s) > MAX_SKEW_S:
            return f" ({abs(ahead_s) / 60:.0f} minutes {'ahead of' if ahead_s > 0 else 'behind'} AWS's)"
        signs = ("RequestTimeTooSkewed", "Signature expired", "Signature not yet current")
        return " (more than five minutes)" if any(sign in self.text for sign in signs) else ""

    @property
    def why_denied(self) -> str:
        """What to do about a missing permission, by the kind of policy that AWS names as the reason.

        https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
        """
        if "service control policy" in self.text or "resource control policy" in self.text:
            return "Your organisation forbids this: ask its administrators, or use another account."
        if "permissions boundary" in self.text:
            return "Your permissions boundary forbids this: ask the administrators of the account."
        return f"{GUIDE} says which permissions the lab needs."


def _require_no_code(core: Core) -> None:
    """Raises LabError for a profile that asks for a device's code each time, which a notebook's kernel can't do."""
    name = core.profile or "default"
    profile = core.full_config.get("profiles", {}).get(name, {})
    if "mfa_serial" in profile and "role_arn" in profile:
        raise LabError(
            f"The profile {name} asks for a code each time, which a notebook can't. Type it once and go on without "
            f'PROFILE=: eval "$(aws configure export-credentials --profile {shlex.quote(name)} --format env)"'
        )


# --- certificates and proxies for what is opened without boto3 ------------------------------------------------------
# WebSockets, the page, and all that the load test opens. Python, websocket-client and child processes read the
# environment variables that these two functions set, so no notebook and no tool needs to know of them.


def trust(core: Core) -> None:
    """Let this process trust the certificates that boto3 trusts, unless SSL_CERT_FILE or SSL_CERT_DIR names others.

    They are those that your AWS configuration names (AWS_CA_BUNDLE, `ca_bundle` of the profile, REQUESTS_CA_BUNDLE),
    for example if a company's proxy decrypts the traffic. If the system has no certificates, as a Python from
    python.org on macOS, they are certifi's. Raises LabError if the file that is named does not exist.
    """
    if {"SSL_CERT_FILE", "SSL_CERT_DIR"} & os.environ.keys():
        return
    bundle = core.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
    if bundle and not os.path.exists(bundle):
        raise LabError(f"There is no file {bundle}, which AWS_CA_BUNDLE or ca_bundle names: set that right.")
    if bundle:
        os.environ["SSL_CERT_DIR" if os.path.isdir(bundle) else "SSL_CERT_FILE"] = bundle
    elif not _system_has_certificates():
        os.environ["SSL_CERT_FILE"] = certifi.where()


def bypass_proxies_for_loopback() -> None:
    """Use no proxy between this machine and itself: websocket-client would use one even for 127.0.0.1."""
    named = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if not named.endswith(LOOPBACK):
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(filter(None, [named, LOOPBACK]))


def _system_has_certificates() -> bool:
    paths = ssl.get_default_verify_paths()
    return bool(paths.cafile) or bool(paths.capath and os.listdir(paths.capath))
