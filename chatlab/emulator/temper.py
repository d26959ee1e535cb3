"""AWS's temper: what AWS does and the emulator does not, trait by trait, each a wrapper around the ASGI application.

Nothing here knows the lab. A trait looks at requests as AWS sees them: which service, which operation, of what.
"""

import asyncio
import inspect
import json
import os
import random
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, unquote

if __package__:
    from . import price_list
else:  # the emulator is run by its folder
    import price_list

REQUESTS_PER_S = float(os.environ.get("CHATLAB_REQUESTS_PER_S", "10000"))
"""The account's quota of requests to API Gateway, in the Region that is played."""

App = Callable[[dict, Callable, Callable], Awaitable[None]]


# The services in which things are made, as signatures name them, and the operations on what is in a table.
CONTROLLED = frozenset({"apigateway", "dynamodb", "iam", "lambda", "logs", "s3", "tagging"})
DATA = frozenset({"BatchWriteItem", "DeleteItem", "GetItem", "PutItem", "Query", "Scan", "UpdateItem"})


@dataclass
class Call:
    """A request to a service's API."""

    service: str
    """As the signature names it: lambda, s3, apigateway, execute-api, ...; "" if it is not signed."""
    key: str
    """The access key's id. A role's begin with ASIA, a user's with AKIA."""
    operation: str
    """Its name where the protocol has one (DynamoDB, IAM, logs, tags); else method and path, "GET /v2/apis"."""
    host: str
    body: bytes
    parameters: dict[str, str] = field(default_factory=dict)
    """Of an operation of the query protocol (IAM, STS)."""
    query: str = ""
    """Of the URL. With S3 it names a part of a bucket, such as "policy", where not the bucket itself is meant."""
    region: str = ""
    """As the signature names it."""

    @property
    def bucket_and_key(self) -> tuple[str, str]:
        """Of S3: the bucket, in the host's name or in the path, and the object's key; "" where there is none."""
        path = self.operation.partition(" /")[2]
        bucket, named, _ = self.host.partition(".s3.")
        if named:
            return bucket, path
        bucket, _, key = path.partition("/")
        return bucket, key

    @property
    def is_control_plane(self) -> bool:
        """Whether a person makes, changes, removes or looks at a thing, and no data in it. Functions use data only."""
        if self.service not in CONTROLLED or self.key.startswith("ASIA"):
            return False
        if self.service == "s3":
            return not self.bucket_and_key[1]
        return self.operation not in DATA and not self.operation.endswith("/invocations")

    @property
    def is_post_to_connection(self) -> bool:
        """Whether it is a message on its way to one connection."""
        return (
            self.service == "execute-api" and self.operation.startswith("POST ") and "/@connections/" in self.operation
        )


@dataclass
class Answer:
    """An answer to a call."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def describe(scope: dict, body: bytes) -> Call:
    """What a request asks for."""
    headers = dict(scope["headers"])
    _, _, credential = headers.get(b"authorization", b"").decode("latin-1").partition("Credential=")
    parts = credential.partition(",")[0].split("/")
    key, region, service = (parts[0], parts[2], parts[3]) if len(parts) == 5 else ("", "", "")
    parameters = {}
    operation = f"{scope['method']} {unquote(scope['path'])}"
    if target := headers.get(b"x-amz-target", b"").decode("latin-1"):
        operation = target.rpartition(".")[2]
    elif headers.get(b"content-type", b"").startswith(b"application/x-www-form-urlencoded"):
        parameters = {name: values[0] for name, values in parse_qs(body.decode(errors="replace")).items()}
        operation = parameters.get("Action", operation)
    host, query = headers.get(b"host", b"").decode("latin-1"), scope.get("query_string", b"").decode("latin-1")
    return Call(service, key, operation, host, body, parameters, query, region)


def refusal(status: int, code: str, message: str) -> Answer:
    """An error as the services with JSON write it."""
    body = json.dumps({"message": message, "Message": message, "__type": code}).encode()
    return Answer(status, [(b"content-type", b"application/json"), (b"x-amzn-errortype", code.encode())], body)


def xml_refusal(status: int, code: str, message: str) -> Answer:
    """An error as S3 writes it."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    return Answer(status, [(b"content-type", b"application/xml")], body)


def query_refusal(status: int, code: str, message: str) -> Answer:
    """An error as IAM writes it."""
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
    body = f'<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">{error}</ErrorResponse>'.encode()
    return Answer(status, [(b"content-type", b"text/xml")], body)


class Bucket:
    """A token bucket: so many a second, and that many at once."""

    def __init__(self, rate: float, burst: float):
        self._rate, self._burst, self._tokens, self._at = rate, burst, burst, time.monotonic()

    def take(self) -> bool:
        """Take a token, if there is one."""
        now = time.monotonic()
        self._tokens, self._at = min(self._burst, self._tokens + (now - self._at) * self._rate), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Trait:
    """One trait. A subclass overrides what it changes."""

    def before(self, call: Call) -> Answer | None:
        """An answer instead of the emulator's; None lets the call through."""

    def after(self, call: Call, answer: Answer) -> Answer:
        """What becomes of the emulator's answer."""
        return answer

    def delay_s(self, call: Call) -> float:
        """Seconds that the call takes longer."""
        return 0.0

    def handshake(self) -> bool:
        """Whether a WebSocket may be opened."""
        return True


class Delay(Trait):
    """Answers take milliseconds: 8 for a message to a connection, as in the wind tunnel; 30 for all else. Assumed."""

    def delay_s(self, call):
        mean_ms = 8 if call.is_post_to_connection else 30
        return mean_ms / 1000 * random.lognormvariate(-0.03, 0.25)


class ControlPlaneRate(Trait):
    """API Gateway's control plane takes 10 calls a second and 40 at once, and a deployment each 5 s.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html
    """

    def __init__(self):
        self._calls, self._deployments = Bucket(10, 40), Bucket(1 / 5, 1)

    def before(self, call):
        if call.service != "apigateway":
            return None
        is_deployment = call.operation.startswith("POST ") and call.operation.endswith("/deployments")
        if self._calls.take() and (not is_deployment or self._deployments.take()):
            return None
        return refusal(429, "TooManyRequestsException", "Too Many Requests")


class NewRole(Trait):
    """A role can't be assumed for some seconds after it was made, and says so in two ways.

    terraform-provider-aws #4633; Lambda's documentation has the first sentence only.
    """

    SENTENCES = (
        "The role defined for the function cannot be assumed by Lambda.",
        "Lambda was unable to configure access to your environment variables because the KMS key is invalid for "
        "CreateGrant. Please check your KMS key settings. KMS Exception: InvalidArnException KMS Message: ARN does not "
        "refer to a valid principal",
    )

    def __init__(self, settles_s=10.0):
        self._settles_s, self._made = settles_s, {}

    def before(self, call):
        if call.operation != "POST /2015-03-31/functions":
            return None
        role = json.loads(call.body)["Role"].rpartition("/")[2]
        age_s = time.monotonic() - self._made.get(role, -1e9)
        if age_s > self._settles_s:
            return None
        return refusal(400, "InvalidParameterValueException", self.SENTENCES[age_s > self._settles_s / 2])

    def after(self, call, answer):
        if call.operation == "CreateRole" and answer.status == 200:
            self._made[call.parameters["RoleName"]] = time.monotonic()
        return answer


class LatePolicy(Trait):
    """What a policy of a role newly allows is refused for some seconds.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency
    """

    def __init__(self, settles_s=4.0):
        self._settles_s, self._until = settles_s, {}  # until when, by action

    def before(self, call):
        action = self._action(call)
        if not call.key.startswith("ASIA") or time.monotonic() > self._until.get(action, 0.0):
            return None
        return refusal(403 if call.service != "dynamodb" else 400, "AccessDeniedException", f"Not authorized: {action}")

    def after(self, call, answer):
        if call.operation == "PutRolePolicy" and answer.status == 200:
            for statement in json.loads(call.parameters["PolicyDocument"])["Statement"]:
                actions = statement["Action"]
                for action in [actions] if isinstance(actions, str) else actions:
                    self._until[action] = time.monotonic() + self._settles_s
        return answer

    @staticmethod
    def _action(call):
        if call.is_post_to_connection:
            return "execute-api:ManageConnections"
        if call.operation.endswith("/invocations"):
            return "lambda:InvokeFunction"
        return f"{call.service}:{call.operation}"


class StaleLists(Trait):
    """Lists and tags are those of some seconds ago, once they were read.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/Welcome.html#ConsistencyModel (lists of buckets), and IAM's
    page on eventual consistency.
    """

    OPERATIONS = frozenset({"ListRoles", "GetResources", "ListTagsOfResource"})

    def __init__(self, lag_s=3.0):
        self._lag_s, self._read = lag_s, {}

    def before(self, call):
        read_at, answer = self._read.get(self._key(call), (0.0, None))
        return answer if time.monotonic() - read_at < self._lag_s else None

    def after(self, call, answer):
        if answer.status == 200 and self._is_list(call) and self.before(call) is None:
            self._read[self._key(call)] = time.monotonic(), answer
        return answer

    def _is_list(self, call):
        is_buckets = call.service == "s3" and call.operation == "GET /" and not call.bucket_and_key[0]
        return call.operation in self.OPERATIONS or is_buckets

    @staticmethod
    def _key(call):
        return call.service, call.operation, call.host, call.body


class BusyBucketName(Trait):
    """A bucket's name conflicts for a while after the bucket was deleted.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/troubleshooting.html
    """

    def __init__(self, settles_s=8.0):
        self._settles_s, self._deleted = settles_s, {}

    def before(self, call):
        if not self._is_for_bucket(call, "PUT"):
            return None
        if time.monotonic() - self._deleted.get(call.bucket_and_key[0], -1e9) > self._settles_s:
            return None
        return xml_refusal(
            409, "OperationAborted",
            "A conflicting conditional operation is currently in progress against this resource. Please try again.",
        )  # fmt: skip

    def after(self, call, answer):
        if self._is_for_bucket(call, "DELETE") and answer.status == 204:
            self._deleted[call.bucket_and_key[0]] = time.monotonic()
        return answer

    @staticmethod
    def _is_for_bucket(call, method):
        is_bucket = call.operation.startswith(f"{method} /") and not call.bucket_and_key[1] and not call.query
        return call.service == "s3" and is_bucket


class LateTags(Trait):
    """For some seconds the tags with which a table was made are not told.

    https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TagResource.html
    """

    def __init__(self, settles_s=4.0):
        self._settles_s, self._made = settles_s, {}

    def after(self, call, answer):
        if call.operation == "CreateTable" and answer.status == 200:
            self._made[json.loads(call.body)["TableName"]] = time.monotonic()
        if call.operation == "ListTagsOfResource" and answer.status == 200:
            table = json.loads(call.body)["ResourceArn"].rpartition("/")[2]
            if time.monotonic() - self._made.get(table, -1e9) < self._settles_s:
                return Answer(200, [(b"content-type", b"application/x-amz-json-1.0")], b'{"Tags": []}')
        return answer


# How a service says that it has failed. Those with a way of their own are named; all others are as DynamoDB.
FAULTS_WRITTEN = {"s3": xml_refusal, "iam": query_refusal}
TOO_MANY = {
    "s3": (503, "SlowDown"), "iam": (400, "Throttling"), "lambda": (429, "TooManyRequestsException"),
    "apigateway": (429, "TooManyRequestsException"),
}  # fmt: skip
OWN_FAULT = {"s3": "InternalError", "iam": "ServiceFailure", "lambda": "ServiceException"}


def failure(service: str) -> Answer:
    """A failure of AWS's own, as a service writes it."""
    code = OWN_FAULT.get(service, "InternalServerError")
    return FAULTS_WRITTEN.get(service, refusal)(500, code, "Internal failure")


class Faults(Trait):
    """A share of all calls to the control plane fail: they are too many, or it is AWS's own fault, half of each.

    https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html (what is tried again)
    """

    def __init__(self, share=0.2):
        self._share = share

    def before(self, call):
        if not call.is_control_plane or random.random() >= self._share:
            return None
        if random.random() < 0.5:
            write = FAULTS_WRITTEN.get(call.service, refusal)
            return write(*TOO_MANY.get(call.service, (400, "ThrottlingException")), "Rate exceeded")
        return failure(call.service)


class LostAnswers(Trait):
    """A share of all calls to the control plane are done, and answered with a failure of AWS's own: done twice, then.

    https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
    """

    def __init__(self, share=0.1):
        self._share = share

    def after(self, call, answer):
        if not call.is_control_plane or answer.status >= 300 or random.random() >= self._share:
            return answer
        return failure(call.service)


class Slow(Trait):
    """Each call to the control plane takes seconds longer."""

    def __init__(self, seconds=2.0):
        self._seconds = seconds

    def delay_s(self, call):
        return self._seconds if call.is_control_plane else 0.0


class ConnectionsRate(Trait):
    """Messages to connections are 10,000 a second, in some Regions 2,500, and half as many at once: the account's quota
    of requests."""

    def __init__(self, per_s=REQUESTS_PER_S):
        self._bucket = Bucket(per_s, per_s / 2)

    def before(self, call):
        if call.is_post_to_connection and not self._bucket.take():
            return refusal(429, "LimitExceededException", "Rate exceeded")
        return None


class MessageFaults(Trait):
    """A share of all messages to connections fail, and it is AWS's own fault: they are not delivered.

    https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html (what is tried again)
    """

    def __init__(self, share=0.02):
        self._share = share

    def before(self, call):
        if call.is_post_to_connection and random.random() < self._share:
            return failure(call.service)
        return None


class ConnectRate(Trait):
    """New WebSocket connections are 500 a second. How many at once is not documented: as many, assumed."""

    def __init__(self):
        self._bucket = Bucket(500, 500)

    def handshake(self):
        return self._bucket.take()


class Concurrency(Trait):
    """Lambda runs 10 invocations at a time, all of the account's together, as in many new accounts.

    `invocations` does that, within the emulator. https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
    """

    AT_ONCE = 10

    def __init__(self, at_once: float = AT_ONCE):
        self.at_once = int(at_once)


class PriceList(Trait):
    """The Price List API answers, which the emulator does not have.

    https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/price-changes.html
    """

    def before(self, call):
        if call.service != "pricing" or call.operation != "GetProducts":
            return None
        body = json.dumps(price_list.get_products(json.loads(call.body))).encode()
        return Answer(200, [(b"content-type", b"application/x-amz-json-1.1")], body)


class StageLimits(Trait):
    """A stage keeps to the limits that are set for its routes: `stage_limits.py` does that, within the emulator."""


class LateMetrics(Trait):
    """CloudWatch's figures can be read only some time later: `metrics.py` keeps them back, for 20 s unless told."""

    def __init__(self, late_s=None):
        """`late_s`: for how long, in seconds."""


class NoPublicBuckets(Trait):
    """The account, which is in no organisation, blocks public access to all of its buckets, whatever is set for one.
    Its settings can be read, and here not be changed.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html
    """

    SETTINGS = "/v20180820/configuration/publicAccessBlock"
    FOUR = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")

    def before(self, call):
        if call.operation == f"GET {self.SETTINGS}":
            settings = "".join(f"<{name}>true</{name}>" for name in self.FOUR)
            space = "http://awss3control.amazonaws.com/doc/2018-08-20/"
            body = f'<PublicAccessBlockConfiguration xmlns="{space}">{settings}</PublicAccessBlockConfiguration>'
            return Answer(200, [(b"content-type", b"application/xml")], body.encode())
        if call.operation in (f"PUT {self.SETTINGS}", f"DELETE {self.SETTINGS}"):
            return xml_refusal(403, "AccessDenied", "Access Denied")
        if call.operation == "DescribeEffectivePolicy":
            return refusal(400, "AWSOrganizationsNotInUseException", "Your account is not a member of an organization.")
        if call.service == "s3" and call.operation.startswith("PUT ") and call.query == "policy":
            return xml_refusal(
                403, "AccessDenied",
                "User: arn:aws:iam::000000000000:user/learner is not authorized to perform: s3:PutBucketPolicy because "
                "public policies are prevented by the BlockPublicPolicy setting in S3 Block Public Access.",
            )  # fmt: skip
        return None


TRAITS = {
    "delay": Delay,
    "control-plane-rate": ControlPlaneRate,
    "new-role": NewRole,
    "late-policy": LatePolicy,
    "late-tags": LateTags,
    "stale-lists": StaleLists,
    "busy-bucket-name": BusyBucketName,
    "connections-rate": ConnectionsRate,
    "connect-rate": ConnectRate,
    "concurrency": Concurrency,
    "price-list": PriceList,
    "late-metrics": LateMetrics,
    "stage-limits": StageLimits,
    "no-public-buckets": NoPublicBuckets,
    "faults": Faults,
    "lost-answers": LostAnswers,
    "slow": Slow,
    "message-faults": MessageFaults,
}
"""All traits, by name."""

APART = frozenset({"no-public-buckets", "faults", "lost-answers", "slow", "message-faults"})
"""Those that are not in "all": they change what can be done at all, or are of a bad day."""


def chosen(names: str) -> dict[str, float | None]:
    """The traits that are meant, each with its number, or None for the usual one.

    They are names with commas between, as in "delay,stale-lists=30"; "all" is all but those of APART, and "" is none.
    "@/a/file" are those that stand in that file.
    Raises ValueError for a name that there is not, for what is no number, or of a trait that has none, and for a file
    that can't be read.
    """
    found: dict[str, float | None] = {}
    if file := _file(names):
        try:
            names = file.read_text().strip()
        except (OSError, ValueError) as error:
            raise ValueError(f"The file {file} can't be read: {error}.") from None
    for word in filter(None, names.split(",")):
        name, given, value = word.partition("=")
        if name == "all" and not given:
            found |= {trait: None for trait in TRAITS if trait not in APART and trait not in found}
        elif name not in TRAITS:
            raise ValueError(f"There is no trait {name}: the traits are {', '.join(TRAITS)}.")
        elif not given:
            found[name] = None
        elif not inspect.signature(TRAITS[name]).parameters:
            raise ValueError(f"The trait {name} has no number.")
        elif not re.fullmatch(r"\d+(\.\d+)?", value):
            raise ValueError(f'The number of the trait {name} is "{value}", which is none.')
        else:
            found[name] = float(value)
    return {name: found[name] for name in TRAITS if name in found}


def with_traits(app: App, names: str) -> App:
    """The application with these traits, as `chosen` reads them. Raises what that does.

    Those of a file change when the file does, as far as they are this module's own.
    """
    if file := _file(names):
        return _Changing(app, file)
    traits = [TRAITS[name]() if value is None else TRAITS[name](value) for name, value in chosen(names).items()]
    return _Temper(app, traits) if traits else app


def _file(names):
    return Path(names[1:]) if names.startswith("@") else None


class _Changing:
    def __init__(self, app, file):
        self._app, self._file, self._read_at, self._now = app, file, None, None

    async def __call__(self, scope, receive, send):
        changed_at = self._file.stat().st_mtime_ns
        if changed_at != self._read_at:
            self._now, self._read_at = with_traits(self._app, self._file.read_text().strip()), changed_at
        await self._now(scope, receive, send)


class _Temper:
    def __init__(self, app, traits):
        self._app, self._traits = app, traits

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope, receive, send):
        body = await whole_body(receive)
        call = describe(scope, body)
        if delay_s := sum(trait.delay_s(call) for trait in self._traits):
            await asyncio.sleep(delay_s)
        answer = next((answer for trait in self._traits if (answer := trait.before(call))), None)
        if answer is None:
            answer = await self._ask(scope, body, receive)
            for trait in self._traits:
                answer = trait.after(call, answer)
        headers = [(name, value) for name, value in answer.headers if name.lower() != b"content-length"]
        headers.append((b"content-length", str(len(answer.body)).encode()))
        if scope["method"] == "HEAD":
            headers = answer.headers
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _ask(self, scope, body, receive):
        """The emulator's answer, as a whole."""
        answer = Answer(500, [], b"")

        async def take(message):
            if message["type"] == "http.response.start":
                answer.status, answer.headers = message["status"], list(message.get("headers", []))
            elif message["type"] == "http.response.body":
                answer.body += message.get("body", b"")

        await self._app(scope, again(body, receive), take)
        return answer

    async def _websocket(self, scope, receive, send):
        if not all([trait.handshake() for trait in self._traits]):
            await receive()
            await send({"type": "websocket.http.response.start", "status": 429, "headers": []})
            await send({"type": "websocket.http.response.body", "body": b'{"message": "Too Many Requests"}'})
            return
        await self._app(scope, receive, send)


async def whole_body(receive):
    """The body of a request, of all its parts."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False) and message["type"] != "http.disconnect"
    return body


def again(body, receive):
    """`receive` for the next application, of a request whose whole body was read already."""
    bodies = [body]

    async def receive_again():
        return {"type": "http.request", "body": bodies.pop(), "more_body": False} if bodies else await receive()

    return receive_again
