"""What the account may do in the lab's Region: its own quotas if you may read them, else AWS's defaults."""

from collections.abc import Callable
from dataclasses import dataclass

from botocore.exceptions import BotoCoreError, ClientError

from chatlab.errors import LabError
from chatlab.lab import Lab

# https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html, "account-level quotas, per Region": Cape
# Town, Milan, Jakarta, UAE, Hyderabad, Melbourne, Spain, Zurich, Tel Aviv, Calgary, Malaysia, Thailand, Mexico.
LOW_REGIONS = frozenset(
    "af-south-1 eu-south-1 ap-southeast-3 me-central-1 ap-south-2 ap-southeast-4 eu-south-2 eu-central-2 il-central-1"
    " ca-west-1 ap-southeast-5 ap-southeast-7 mx-central-1".split()
)
# https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
DEFAULT_CONNECTS_PER_S = 500
# Lambda's default is 1,000, a new account's is less: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
# If it can't be read, the lower one works in both.
DEFAULT_CONCURRENCY = 10


def default_requests_per_s(region: str) -> int:
    """Requests a second that API Gateway takes in a Region by default, of all APIs of an account, posts included.

    The bucket holds half as many. https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html
    """
    return 2_500 if region in LOW_REGIONS else 10_000


@dataclass(frozen=True)
class Quotas:
    """An account's quotas in one Region, and where they come from."""

    requests_per_s: float
    """Requests to API Gateway of all kinds, posts to connections included."""
    connects_per_s: float
    """New WebSocket connections."""
    concurrency: int
    """Invocations of Lambda at the same time that no other function has reserved."""
    sources: dict[str, str]
    """Of each of these, by name, the call that was asked, or "AWS's default" and why."""

    def max_connects_per_s(self, connect_s: float) -> float:
        """New connections a second that the account takes, if one takes `connect_s` seconds.

        A connection needs one invocation of `$connect` for as long as that runs, so there can be concurrency / duration
        of them a second (Little's law). Half of it is taken, since no crowd comes evenly and some functions have to
        start first; and 0.9 of API Gateway's own quota.
        """
        return min(0.5 * self.concurrency / connect_s, 0.9 * self.connects_per_s)

    def is_live(self, name: str) -> bool:
        """Whether that quota is the account's own, and not AWS's default."""
        return not self.sources[name].startswith("AWS's default")

    @property
    def rows(self) -> list[dict[str, str]]:
        """For `lab.show`."""
        words = {
            "requests_per_s": "requests to API Gateway a second",
            "connects_per_s": "new connections a second",
            "concurrency": "invocations of Lambda at the same time",
        }
        return [
            {"quota": text, "value": f"{getattr(self, name):,.0f}", "from": self.sources[name]}
            for name, text in words.items()
        ]


def read_quotas(lab: Lab) -> Quotas:
    """The quotas of the lab's account in its Region: each is read, and is AWS's default if you may not read it.

    The requests a second are API Gateway's own word: Service Quotas has 10,000 for L-8A5B8E43 also in Regions with
    2,500 (https://repost.aws/questions/QU47u_cBTCQcy2qTmoR6q91w/api-gateway-throttling-discrepancy).
    """
    calls: dict[str, tuple[str, Callable[[], float], float]] = {
        "requests_per_s": (
            "apigateway get_account",
            lambda: lab.client("apigateway").get_account()["throttleSettings"]["rateLimit"],
            default_requests_per_s(lab.region),
        ),
        "connects_per_s": (
            "Service Quotas L-9ED1E49A",
            lambda: _service_quota(lab, "apigateway", "L-9ED1E49A"),
            DEFAULT_CONNECTS_PER_S,
        ),
        "concurrency": (
            "lambda get_account_settings",
            lambda: lab.client("lambda").get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"],
            DEFAULT_CONCURRENCY,
        ),
    }
    values: dict[str, float] = {}
    sources: dict[str, str] = {}
    for name, (source, read, default) in calls.items():
        try:
            values[name], sources[name] = read(), source
        except (LabError, BotoCoreError, ClientError, KeyError) as error:  # KeyError: what a service does not say
            values[name], sources[name] = default, f"AWS's default ({source}: {_reason(error)})"
    return Quotas(values["requests_per_s"], values["connects_per_s"], int(values["concurrency"]), sources)


def _service_quota(lab: Lab, service: str, code: str) -> float:
    quota = lab.client("service-quotas").get_service_quota(ServiceCode=service, QuotaCode=code)["Quota"]
    return float(quota["Value"])


def _reason(error: Exception) -> str:
    if isinstance(error, ClientError):
        return str(error.response["Error"]["Code"])
    return "no answer" if isinstance(error, LabError | KeyError) else type(error).__name__
