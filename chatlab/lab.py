"""The lab: its settings, and the names, tags, clients and URLs that follow from them."""

import hashlib
import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import boto3
import pandas as pd
from botocore.awsrequest import AWSRequest
from botocore.config import Config

from chatlab import ledger, local_cloud, page, record
from chatlab.aws import (
    aws_session,
    bypass_proxies_for_loopback,
    explaining,
    let_waiters_ask_often,
    partitions,
    session_without_profile,
    trust,
)
from chatlab.errors import LabError, NotOurs
from chatlab.paths import ensure_writable, state_dir
from chatlab.privacy import add_secrets, add_session_secrets, redact, redact_kernel_output
from chatlab.settings import NO_OPTIONS, Options, Settings, Variable

STAGE = "production"
ROUTES = {"connect": "$connect", "default": "$default", "disconnect": "$disconnect"}
OWNER = "chatlab-owner"  # the tag that tells two people's labs of one name apart

Row = Mapping[str, Any]  # of AWS's answers, whose values are whatever a service says
Tags = Mapping[str, str] | Sequence[Mapping[str, str]]
"""Tags as the services return them: a dict, or a list of `{"Key": ..., "Value": ...}`, in ECS in lower case."""


class Lab:
    """One lab. `Lab.choose` makes it in notebook 00, `Lab.load` finds it again in every other kernel.

    Both, and `Lab.find`, redact what is private in everything that the kernel shows from then on.
    """

    def __init__(self, settings: Settings, options: Options = NO_OPTIONS) -> None:
        self.settings, self.options = settings, options
        self._clients: dict[tuple[object, ...], Any] = {}
        self.target, self.name, self.region = settings.target, settings.name, settings.region
        self.partition, self._dns_suffix = partitions()[self.region]
        """The part of AWS that the Region belongs to, as ARNs name it: aws, aws-cn, aws-us-gov, ..."""
        if options.confirm not in (None, self.name):
            raise LabError(f'CONFIRM is "{options.confirm}": it has to be the NAME of the lab, which is {self.name}.')
        self._name_tags = {"chatlab": self.name, "chatlab-region": self.region}
        """The Region is among them because IAM knows no Regions: two labs of one name share its list of roles."""

        self.table = self.name
        """The DynamoDB table of connection ids."""
        self.role = f"{self.name}-lambda-{self.region}"
        """The IAM role of the three functions. IAM knows no Regions, so the name includes the Region; 64 at most."""
        self.functions = {part: f"{self.name}-{part}" for part in ROUTES}
        """The Lambda functions' names, by what they do: connect, default, disconnect."""
        self.log_groups = {part: f"/aws/lambda/{function}" for part, function in self.functions.items()}
        """The functions' log groups, by what they do."""
        self.api = self.name
        """The WebSocket API's name. AWS makes its id: see `find_api`."""
        self.load_test = f"{self.name}-load-test"
        """Notebook 10's cluster of ECS, its family of task definitions, and its security group."""
        self.event_api = f"{self.name}-events"
        """The name of notebook 11's Event API of AppSync. AWS makes its id: see `find_event_api`."""
        self.switch = f"{self.name}-switch"
        """The group of EventBridge Scheduler's schedules that close chat and page after some hours."""
        self.switch_role = f"{self.switch}-{self.region}"
        """The IAM role of these schedules."""
        self.alarm = f"{self.name}-{self.region}"
        """The budget with an alarm by e-mail. AWS Budgets knows no Regions, so the name includes the Region."""
        self.role_options = {"Path": options.role_path} if options.role_path != "/" else {}
        """What else `create_role` gets, if your organisation asks for it: a path, a permissions boundary."""
        if options.boundary:
            self.role_options["PermissionsBoundary"] = options.boundary

    def __str__(self) -> str:
        return str(self.settings)

    # --- choosing and finding -----------------------------------------------------------------------------------

    @classmethod
    def choose(
        cls,
        target: str | None = None,
        name: str | None = None,
        region: str | None = None,
        profile: str | None = None,
        hours: float | None = None,
        options: Mapping[str, Any] = MappingProxyType({}),
    ) -> "Lab":
        """The lab with these settings (see `Settings.resolve`), which becomes the current one of the ledger.

        On the target `local`, this starts the local cloud unless it runs. If you give `hours`, AWS closes chat and
        page after that time: notebook 04 sets that up. `options` are those of `Options.parse`. Raises LabError, before
        anything is created, for impossible settings and on `aws` without credentials.
        """
        redact_kernel_output()
        lab = cls(Settings.resolve(target, name, region, profile), Options.parse(hours, options))
        lab._open()
        ledger.record(lab)
        return lab

    @classmethod
    def load(cls) -> "Lab":
        """The lab that notebook 00 chose.

        Raises LabError if it chose none, if the lab's local cloud has ended, or if your credentials are for another
        account.
        """
        redact_kernel_output()
        entry = ledger.current()
        if entry is None:
            raise LabError("No lab is chosen yet: run notebook 00_start first.")
        lab = cls(entry.settings, entry.options)
        if lab.target == "local":
            local_cloud.require_running()
        ledger.require_same_account(lab, [entry])
        return lab

    @classmethod
    def find(
        cls,
        target: str | None = None,
        name: str | None = None,
        region: str | None = None,
        profile: str | None = None,
        confirm: str | None = None,
    ) -> "Lab":
        """The lab to remove: the one that these settings name, or, if all are None, the one that notebook 00 chose.

        You can also name a lab that is not in the ledger, because it was made in another folder or on another machine:
        its tag finds it. What a colleague made counts as the lab's own only if you `confirm` its name here: you may
        have confirmed in notebook 00 to work on it, and not to remove it. Raises LabError if several labs fit, if your
        credentials are for another account, or if you confirm another name.
        """
        redact_kernel_output()
        if target or name or region or profile:
            entries = ledger.find(target, name, region, profile)
        else:
            current = ledger.current()
            entries = [current] if current else []
        settings = entries[0].settings if entries else Settings.resolve(target, name, region, profile)
        lab = cls(settings, replace(entries[0].options if entries else NO_OPTIONS, confirm=confirm))
        lab._open()
        ledger.require_same_account(lab, entries)
        return lab

    def _open(self) -> None:
        """On `local`, start the local cloud unless it runs; on `aws`, raise LabError without credentials."""
        ensure_writable(state_dir())
        if self.target == "local":
            local_cloud.start()
        else:
            self.require_credentials()

    def close(self) -> None:
        """Remove the lab, whose inventory is empty, from the ledger; print which other labs are open.

        The last lab on a local cloud stops that cloud. (A run stops its own cloud, after it has taken the inventory.)
        """
        page.stop(self.settings)
        ledger.remove(self)
        others = ledger.entries()
        is_last = self.target == "local" and not any(other.settings.target == "local" for other in others)
        if is_last and not Variable.RUN.get():
            local_cloud.stop()
        for other in others:
            print(f"Still open: {other}.")

    # --- talking to the target ----------------------------------------------------------------------------------

    def client(self, service: str, **options: Any) -> Any:  # boto3 makes the class of each client when it runs
        """A boto3 client of the target. `options` go to boto3, for example `endpoint_url`.

        Asked for again, it is the same client, as boto3 advises: it takes 10 ms to make one, and on `aws` each new one
        has to shake hands.
        """
        if self.target == "local":
            options = {"endpoint_url": local_cloud.url(), **options}
        options = {"config": self._config, **options}
        key = (service, *sorted(options.items()))
        if key not in self._clients:
            with explaining(self.session._session):  # credentials may be looked for only now
                self._clients[key] = self.session.client(service, **options)
        return self._clients[key]

    @cached_property
    def session(self) -> boto3.Session:
        """A boto3 session with the target's credentials and Region."""
        if self.target == "aws":
            session = aws_session(profile_name=self.settings.profile, region_name=self.region)
            trust(session._session)
            if folder := Variable.RUN.path():
                record.begin(folder / record.FILE)
        else:
            bypass_proxies_for_loopback()
            session = session_without_profile(self.region, **local_cloud.credentials())
            session.events.register("before-sign.s3-control", _without_account_in_host)
            session.events.register("creating-client-class", let_waiters_ask_often)
        add_session_secrets(session)
        return session

    @cached_property
    def _config(self) -> Config:
        # API Gateway's control plane takes ten calls a second, and every service fails at times: standard mode waits
        # and tries again. If one call in five fails, it gives up one in 400,000.
        config = Config(retries={"mode": "standard", "total_max_attempts": 8})
        if self.target == "aws":
            return config
        # No proxies: the shell's must not come between this machine and itself.
        return config.merge(Config(connect_timeout=5, read_timeout=60, proxies={}))

    @cached_property
    def _caller(self) -> dict[str, str]:
        """Who you are, as STS says. Raises LabError without credentials."""
        # This is the first call of all, so without a network it has to fail soon.
        impatience = Config(connect_timeout=5, retries={"mode": "standard", "total_max_attempts": 2})
        sts = self.client("sts", config=self._config.merge(impatience))
        caller: dict[str, str] = sts.get_caller_identity()
        add_secrets(caller["Account"])
        return caller

    @property
    def account_id(self) -> str:
        """The account's 12 digits, for ARNs. Redacted wherever it is shown. Raises LabError without credentials."""
        return self._caller["Account"]

    def require_credentials(self) -> None:
        """Raises LabError without credentials that AWS knows."""
        _ = self.account_id

    def show(self, answer: Row | Sequence[Row], *columns: str, fold: str = "") -> pd.DataFrame:
        """What AWS answered as a small table of texts, without what is private.

        Args:
            answer: one dict (shown as two columns) or a list of dicts (rows). What a row lacks is left blank, and so is
                a time that is not known (NaT).
            columns: the keys to show; by default all but `ResponseMetadata`.
            fold: a line that a notebook shows in place of the table, which opens with a click on it.
        """

        def text(value: object) -> str:
            return "" if value is None or value is pd.NaT else redact(str(value))

        def texts(row: Row) -> dict[str, str]:
            keys = columns or [key for key in row if key != "ResponseMetadata"]
            return {key: text(row.get(key)) for key in keys}

        if isinstance(answer, Mapping):
            table = _Table(texts(answer).items(), columns=["", "value"])
        else:
            table = _Table([texts(row) for row in answer], columns=columns or None)
        table.fold = fold
        return table

    # --- whose is it? -------------------------------------------------------------------------------------------

    @property
    def owner(self) -> str:
        """Who makes the lab's things: a digest of your ARN, the same on all your machines."""
        return hashlib.sha256(person(self._caller["Arn"]).encode()).hexdigest()[:8]

    @property
    def own_tags(self) -> dict[str, str]:
        """The tags by which the lab knows what is its own: without the owner if you have confirmed the name."""
        return self._name_tags if self.options.confirm else self._name_tags | {OWNER: self.owner}

    @property
    def tags(self) -> dict[str, str]:
        """The tags that everything carries, as a dict. Some services want `tag_list` instead."""
        return self._name_tags | {OWNER: self.owner} | self.options.tags

    @property
    def tag_list(self) -> list[dict[str, str]]:
        """The same as a list of `{"Key": ..., "Value": ...}`."""
        return [{"Key": key, "Value": value} for key, value in self.tags.items()]

    def owns(self, tags: Tags) -> bool:
        """Whether something with these tags is this lab's own."""
        return self.own_tags.items() <= _as_dict(tags).items()

    def is_colleagues(self, tags: Tags) -> bool:
        """Whether it is of a lab of this name that somebody else made in this account and Region."""
        tags = _as_dict(tags)
        return self._name_tags.items() <= tags.items() and tags.get(OWNER) != self.owner

    def require_own(self, thing: str, tags: Tags) -> None:
        """Raises NotOurs if something that has the lab's name is not the lab's: call it before you change anything.

        A new thing's tags can take a few seconds to appear. Wait for them first: something without tags is somebody
        else's.

        Args:
            thing: what to call it, as in "a table chat".
            tags: its tags.
        """
        if self.owns(tags):
            return
        if self.is_colleagues(tags):
            raise NotOurs(
                f"There is {thing} already, and it is a colleague's lab: its {OWNER} is another. Nothing of it was "
                f"changed. Choose another NAME in notebook 00, or give CONFIRM={self.name} to work on it."
            )
        missing = " and ".join(f"{key}={value}" for key, value in self._name_tags.items())
        raise NotOurs(
            f"There is {thing} already, and it is not this lab's: it lacks the tags {missing}. "
            "Nothing of it was changed. Choose another name in notebook 00."
        )

    # --- what the account's id is part of -----------------------------------------------------------------------

    @cached_property
    def bucket(self) -> str:
        """The page's bucket. Bucket names are unique in the world: a hash of account and Region makes it ours."""
        return self._bucket("page")

    @cached_property
    def load_test_bucket(self) -> str:
        """The private bucket of notebook 10: the load test's code, and what its tasks hand over."""
        return self._bucket("load")

    def _bucket(self, what: str) -> str:
        digest = hashlib.sha256(f"{self.account_id}/{self.region}".encode()).hexdigest()[:12]
        return f"{self.name}-{what}-{digest}"

    def arn(self, service: str, resource: str) -> str:
        """The ARN of `resource` of a regional service, in the lab's Region and account."""
        return f"arn:{self.partition}:{service}:{self.region}:{self.account_id}:{resource}"

    # --- the API and its URLs -----------------------------------------------------------------------------------

    def find_api(self) -> dict[str, Any] | None:
        """The description of this lab's WebSocket API (as `get_apis` gives it), or None; of several, the oldest.

        There are several if an answer to `create_api` got lost, because boto3 then asked again.
        """
        pages = self.client("apigatewayv2").get_paginator("get_apis").paginate()
        own = [api for page in pages for api in page["Items"] if self.owns(api.get("Tags", {}))]
        return min(own, key=lambda api: (api["CreatedDate"], api["ApiId"]), default=None)

    def find_event_api(self) -> dict[str, Any] | None:
        """The same of its Event API of AppSync, as `list_apis` gives it."""
        pages = self.client("appsync").get_paginator("list_apis").paginate()
        own = [api for page in pages for api in page["apis"] if self.owns(api.get("tags", {}))]
        return min(own, key=lambda api: (api["created"], api["apiId"]), default=None)

    def require_api(self) -> str:
        """The API's id. Raises LabError if there is no API yet."""
        if api := self.find_api():
            return str(api["ApiId"])
        raise LabError("There is no WebSocket API yet: run notebook 04_websocket_api first.")

    def connections_url(self, api_id: str) -> str:
        """Where the broadcast posts, without `/@connections`: `APIGatewayEndpoint`."""
        if self.target == "aws":
            return f"https://{api_id}.execute-api.{self.region}.{self._dns_suffix}/{STAGE}"
        return f"{local_cloud.url()}/_aws/execute-api/{api_id}/{STAGE}"

    def websocket_url(self, api_id: str) -> str:
        """Where clients connect."""
        return self.connections_url(api_id).replace("http", "ws", 1)  # https becomes wss

    def events_url(self, event_api: Row) -> str:
        """Where the clients of an Event API connect, by its description."""
        scheme = self.websocket_url("").partition(":")[0]
        return f"{scheme}://{event_api['dns']['REALTIME']}/event/realtime"

    @property
    def page_url(self) -> str:
        """The page's address in the bucket, on aws over https, since browsers warn of public pages without it.

        If no bucket may be public, notebook 05 serves the page from this machine, and this is its address there.
        """
        return page.url(self.settings) or self.object_url("index.html")

    def object_url(self, key: str) -> str:
        """Where one object of the bucket is, at S3's REST address."""
        if self.target == "local":
            return f"{local_cloud.url()}/{self.bucket}/{key}"
        return f"https://{self.bucket}.s3.{self.region}.{self._dns_suffix}/{key}"


def person(arn: str) -> str:
    """Whose ARN it is: of a session of a role the role's, since another machine may name its sessions otherwise.

    All who have a permission set of IAM Identity Center share its role, which names each session after the user. The
    role's name is left out, since one person may have several permission sets.
    https://docs.aws.amazon.com/singlesignon/latest/userguide/referencingpermissionsets.html
    """
    begin, *names = arn.split("/")
    if not begin.endswith(":assumed-role"):
        return arn
    role, session = names
    return f"{begin}/AWSReservedSSO_/{session}" if role.startswith("AWSReservedSSO_") else f"{begin}/{role}"


def _as_dict(tags: Tags) -> Mapping[str, str]:
    if isinstance(tags, Mapping):
        return tags
    return {(tag.get("Key") or tag["key"]): tag.get("Value", tag.get("value", "")) for tag in tags}


class _Table(pd.DataFrame):
    """A DataFrame of texts: aligned to the left, without row numbers, and folded below the line `fold`, if any."""

    fold = ""

    @property
    def _constructor(self) -> type["_Table"]:
        return _Table

    def __repr__(self) -> str:
        return "\n".join(filter(None, [self.fold, self.to_string(index=False)]))

    def _repr_html_(self) -> str:
        styled = (
            self.style.format(escape="html")
            .hide(axis="index")
            .set_table_styles([{"selector": "th, td", "props": "text-align: left; white-space: pre-wrap"}])
        )
        shown: str = styled.set_table_attributes('class="dataframe"').set_uuid("texts").to_html()
        return f"<details><summary>{html.escape(self.fold)}</summary>{shown}</details>" if self.fold else shown


def _without_account_in_host(request: AWSRequest, **_: object) -> None:
    """S3 Control's host names begin with the account, and 000000000000.127.0.0.1 is no address."""
    request.url = re.sub(r"//\d{12}\.", "//", f"{request.url}")
