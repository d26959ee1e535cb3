"""The lab: its settings, and every name, tag, client and URL that follows from them."""

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property

from botocore.config import Config

from chatlab import ledger, local_cloud, page, transport
from chatlab.credentials import explaining
from chatlab.errors import LabError, NotOurs
from chatlab.paths import ensure_writable, in_a_run, state_dir
from chatlab.privacy import add_secrets, add_session_secrets
from chatlab.settings import Settings, aws_session, partitions, session_without_profile
from chatlab.tables import format_table

STAGE = "production"
MAX_HOURS = 30 * 24  # a switch for the forgetful that comes later than this is none
ROUTES = {"connect": "$connect", "default": "$default", "disconnect": "$disconnect"}

# Website endpoints with a dash before the Region; all other Regions have a dot there.
# https://docs.aws.amazon.com/general/latest/gr/s3.html#s3_website_region_endpoints
DASHED_WEBSITE_REGIONS = frozenset(
    "us-east-1 us-west-1 us-west-2 ap-southeast-1 ap-southeast-2 ap-northeast-1 eu-west-1 sa-east-1"
    " us-gov-west-1".split()
)


@dataclass(frozen=True)
class Lab(Settings):
    """One lab. `Lab.choose` makes it in notebook 00, `Lab.load` finds it again in every other kernel."""

    # --- choosing and remembering -------------------------------------------------------------------------------

    @classmethod
    def choose(cls, target=None, name=None, region=None, profile=None, hours=None):
        """The lab with these settings (see `Settings.resolve`), written into the ledger as the one in use.

        On the target `local`, the local cloud is started if it is not running. After so many `hours`, if they are
        given, AWS is to remove the stage by itself: notebook 04 sees to it. Raises LabError for settings that can't
        be, and on `aws` without credentials: before anything is made.
        """
        lab = cls.resolve(target, name, region, profile)
        if hours is not None and not 0 < hours <= MAX_HOURS:
            raise LabError(f"HOURS is {hours}: it has to be a number of hours above 0, {MAX_HOURS} at most, or None.")
        lab.begin()
        ledger.record(lab, hours)
        return lab

    @classmethod
    def load(cls):
        """The lab that notebook 00 chose.

        Raises LabError if it chose none, if its local cloud is gone, or if the credentials are another account's.
        """
        entry = ledger.current()
        if entry is None:
            raise LabError("No lab is chosen yet: run notebook 00_start first.")
        lab = cls.from_settings(entry.settings)
        if lab.target == "local":
            local_cloud.require_running()
        ledger.require_same_account(lab, [entry])
        return lab

    @classmethod
    def find(cls, target=None, name=None, region=None, profile=None):
        """The lab to remove: the one that these settings name, or, where all are None, the one that notebook 00 chose.

        One that is not in the ledger can be meant, too: it was made in another folder or on another machine, and is
        found by its tag. Raises LabError if several are meant, or if the credentials are another account's.
        """
        wanted = {"target": target, "name": name, "region": region, "profile": profile}
        if any(wanted.values()):
            meant = ledger.find(**wanted)
        else:
            entry = ledger.current()
            meant = [entry] if entry else []
        lab = cls.from_settings(meant[0].settings) if meant else cls.resolve(**wanted)
        lab.begin()
        ledger.require_same_account(lab, meant)
        return lab

    @classmethod
    def from_settings(cls, settings):
        """The lab with these Settings."""
        return cls(settings.target, settings.name, settings.region, settings.profile)

    def begin(self):
        """Start the local cloud if it is this lab's, and does not run; on `aws`, see who you are, or raise LabError."""
        ensure_writable(state_dir())
        if self.target == "local":
            local_cloud.start()
        else:
            _ = self.account_id

    def close(self):
        """Take the lab, of which nothing is left, out of the ledger; print which other ones are open.

        The last one on a local cloud stops it. A run's own is left to the run, which takes an inventory first.
        """
        page.stop(self)
        ledger.remove(self)
        others = ledger.entries()
        if self.target == "local" and not in_a_run() and not any(other.settings.target == "local" for other in others):
            local_cloud.stop()
        for other in others:
            print(f"Still open: {other}.")

    # --- talking to the target ----------------------------------------------------------------------------------

    def client(self, service, **options):
        """A boto3 client of the target. `options` go to boto3, for example `endpoint_url`."""
        with explaining(self.session._session):  # credentials may be looked for only now
            return self.session.client(service, **{**self._options, **options})

    @cached_property
    def session(self):
        """A boto3 session with the target's credentials and Region."""
        if self.target == "aws":
            session = aws_session(profile_name=self.profile, region_name=self.region)
            transport.trust(session._session)
        else:
            transport.stay_on_this_machine()
            session = session_without_profile(region_name=self.region, **local_cloud.credentials())
            session.events.register("before-sign.s3-control", _without_account_in_host)
        add_session_secrets(session)
        return session

    @property
    def _options(self):
        # API Gateway's control plane takes ten calls a second, and every service fails at times: standard mode waits,
        # and tries again. Where one call in five fails, one in 400,000 is given up.
        retries = {"mode": "standard", "total_max_attempts": 8}
        if self.target == "aws":
            return {"config": Config(retries=retries)}
        # No proxies: what the shell names must not come between this machine and itself.
        patience = Config(retries=retries, connect_timeout=5, read_timeout=60, proxies={})
        return {"config": patience, "endpoint_url": self._local_url}

    @cached_property
    def account_id(self):
        """The account's 12 digits, for ARNs. Masked wherever it is shown. Raises LabError without credentials."""
        # The first question of all, so where there is no network, that is to be known soon.
        impatience = Config(connect_timeout=5, retries={"mode": "standard", "total_max_attempts": 2})
        sts = self.client("sts", config=self._options["config"].merge(impatience))
        account = sts.get_caller_identity()["Account"]
        add_secrets(account)
        return account

    def show(self, answer, *columns):
        """What AWS answered as a small table: see `chatlab.tables.format_table`."""
        return format_table(answer, *columns)

    # --- names and tags -----------------------------------------------------------------------------------------

    @property
    def tags(self):
        """The tags that everything carries, as a dict. Some services want `tag_list` instead.

        The Region is among them because IAM knows none: two labs of one name share its list of roles.
        """
        return {"chatlab": self.name, "chatlab-region": self.region}

    @property
    def tag_list(self):
        """The same as a list of `{"Key": ..., "Value": ...}`."""
        return [{"Key": key, "Value": value} for key, value in self.tags.items()]

    def owns(self, tags):
        """Whether `tags` (a dict, or a list as `tag_list`) are those of this lab's own things."""
        if not isinstance(tags, dict):
            tags = {tag["Key"]: tag["Value"] for tag in tags}
        return self.tags.items() <= tags.items()

    def require_own(self, thing, tags):
        """Raises NotOurs if what was found under the lab's name is not the lab's: before anything is changed.

        `thing` is what to call it, as in "a table chat", and `tags` are its own, as `owns` takes them. What was just
        made may not tell its tags yet: wait for those instead, since a thing without tags is a stranger's.
        """
        if not self.owns(tags):
            lacks = " and ".join(f"{key}={value}" for key, value in self.tags.items())
            raise NotOurs(
                f"There is {thing} already, and it is not this lab's: it lacks the tags {lacks}. "
                "Nothing of it was changed. Choose another name in notebook 00."
            )

    @property
    def table(self):
        """The DynamoDB table of connection ids."""
        return self.name

    @property
    def role(self):
        """The IAM role of the three functions. IAM knows no Regions, so the name says for which it is; 64 at most."""
        return f"{self.name}-lambda-{self.region}"

    @property
    def functions(self):
        """The Lambda functions' names, by what they do: connect, default, disconnect."""
        return {part: f"{self.name}-{part}" for part in ROUTES}

    @property
    def log_groups(self):
        """The functions' log groups, by what they do."""
        return {part: f"/aws/lambda/{function}" for part, function in self.functions.items()}

    @property
    def switch(self):
        """What removes the stage by itself: the group of its schedule, EventBridge Scheduler's."""
        return f"{self.name}-switch"

    @property
    def switch_role(self):
        """The IAM role of that schedule."""
        return f"{self.switch}-{self.region}"

    @property
    def alarm(self):
        """The budget with an alarm by e-mail. AWS Budgets knows no Regions, so the name says for which it is."""
        return f"{self.name}-{self.region}"

    @property
    def api(self):
        """The WebSocket API's name. Its id is made by AWS: `find_api`."""
        return self.name

    @cached_property
    def bucket(self):
        """The page's bucket. Bucket names are unique in the world: a hash of account and Region makes it ours."""
        digest = hashlib.sha256(f"{self.account_id}/{self.region}".encode()).hexdigest()[:12]
        return f"{self.name}-page-{digest}"

    @property
    def partition(self):
        """The part of AWS that the Region belongs to, as ARNs name it: aws, aws-cn, aws-us-gov, ..."""
        return partitions()[self.region]

    def arn(self, service, resource):
        """The ARN of `resource` of a regional service, in the lab's Region and account."""
        return f"arn:{self.partition}:{service}:{self.region}:{self.account_id}:{resource}"

    # --- the API and its URLs -----------------------------------------------------------------------------------

    def find_api(self):
        """The description of this lab's WebSocket API (as `get_apis` gives it), or None; of several, the oldest.

        They are several if an answer to `create_api` got lost, since boto3 then asks again.
        """
        pages = self.client("apigatewayv2").get_paginator("get_apis").paginate()
        own = [api for page in pages for api in page["Items"] if self.owns(api.get("Tags", {}))]
        return min(own, key=lambda api: (api["CreatedDate"], api["ApiId"]), default=None)

    def require_api(self):
        """The API's id. Raises LabError if there is no API yet."""
        if api := self.find_api():
            return api["ApiId"]
        raise LabError("There is no WebSocket API yet: run notebook 04_websocket_api first.")

    def websocket_url(self, api_id):
        """Where clients connect."""
        if self.target == "aws":
            return f"wss://{self._execute_api_host(api_id)}/{STAGE}"
        return f"{self._local_url.replace('http', 'ws', 1)}/_aws/execute-api/{api_id}/{STAGE}"

    def connections_url(self, api_id):
        """Where the broadcast posts, without `/@connections`: `APIGatewayEndpoint`."""
        if self.target == "aws":
            return f"https://{self._execute_api_host(api_id)}/{STAGE}"
        return f"{self._local_url}/_aws/execute-api/{api_id}/{STAGE}"

    @property
    def page_url(self):
        """Where the page is: in the bucket, on aws over https, since browsers warn of public pages that are not.

        Where no bucket may be public, and notebook 05 therefore serves it from this machine, it is here.
        """
        return page.url(self) or self.object_url("index.html")

    @property
    def website_url(self):
        """S3's website endpoint, over http, which serves the page, too; None on the local cloud, which has none."""
        if self.target == "local":
            return None
        dash = "-" if self.region in DASHED_WEBSITE_REGIONS else "."
        return f"http://{self.bucket}.s3-website{dash}{self.region}.{self._dns_suffix}/"

    def object_url(self, key):
        """Where one object of the bucket is, at S3's REST address."""
        if self.target == "local":
            return f"{self._local_url}/{self.bucket}/{key}"
        return f"https://{self.bucket}.s3.{self.region}.{self._dns_suffix}/{key}"

    @property
    def _local_url(self):
        return local_cloud.url()

    def _execute_api_host(self, api_id):
        return f"{api_id}.execute-api.{self.region}.{self._dns_suffix}"

    @property
    def _dns_suffix(self):
        return "amazonaws.com.cn" if self.region.startswith("cn-") else "amazonaws.com"


def _without_account_in_host(request, **_):
    """S3 Control's host names begin with the account, and 000000000000.127.0.0.1 is no address."""
    request.url = re.sub(r"//\d{12}\.", "//", request.url)
