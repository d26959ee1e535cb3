"""What AWS does and an emulator does not, trait by trait: docs/rehearsal.md has the table.

A trait stands between a call and MiniStack: it may refuse the call, delay it, or change the response. Nothing here
knows the lab or MiniStack. The traits that take more are played where MiniStack is corrected: see `TRAITS`.
"""

import asyncio
import random
import re
import time
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

from chatlab.emulator import eventual_consistency
from chatlab.emulator.account import PUBLIC_ACCESS_BLOCK, REQUESTS_PER_S, price_list
from chatlab.emulator.calls import (
    REALTIME_PATH,
    ApiCall,
    App,
    Forward,
    Message,
    Play,
    Receive,
    Response,
    Scope,
    Send,
    error_response,
    parse_call,
    read_body,
    replay,
)


class TokenBucket:
    """The algorithm by which AWS throttles: `burst` requests at once, and `rate_per_s` in the long run. It starts full.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-request-throttling.html
    """

    def __init__(self, rate_per_s: float, burst: float) -> None:
        self._rate_per_s, self._burst = rate_per_s, burst
        self._tokens, self._refilled_at = burst, time.monotonic()

    def take(self, count: int = 1) -> bool:
        """Take so many tokens, if they are there."""
        now = time.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._refilled_at) * self._rate_per_s)
        self._refilled_at = now
        if self._tokens < count:
            return False
        self._tokens -= count
        return True


# --- latency ---------------------------------------------------------------------------------------------------------


async def _delay(call: ApiCall, forward: Forward) -> Response:
    """Responses take milliseconds: 8 for a post to a connection, as in the benchmarks; 30 for all else. Assumed."""
    mean_ms = 8 if call.is_post_to_connection else 30
    await asyncio.sleep(mean_ms / 1000 * random.lognormvariate(-0.03, 0.25))
    return await forward()


async def _slow(seconds: float, call: ApiCall, forward: Forward) -> Response:
    """Each call of the control plane takes that much longer."""
    if call.is_control_plane:
        await asyncio.sleep(seconds)
    return await forward()


# --- throttling ------------------------------------------------------------------------------------------------------


def _control_plane_rate() -> Play:
    """API Gateway's control plane takes 10 calls a second and 40 at once, and one deployment in 5 s.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html
    """
    calls, deployments = TokenBucket(10, 40), TokenBucket(1 / 5, 1)

    async def play(call: ApiCall, forward: Forward) -> Response:
        if call.service == "apigateway":
            is_deployment = call.operation.startswith("POST ") and call.operation.endswith("/deployments")
            if not calls.take() or (is_deployment and not deployments.take()):
                return error_response("apigateway", 429, "TooManyRequestsException", "Too Many Requests")
        return await forward()

    return play


def _connections_rate(rate_per_s: float) -> Play:
    """API Gateway takes as many posts to connections a second as the account's quota says, and half as many at once."""
    bucket = TokenBucket(rate_per_s, rate_per_s / 2)

    async def play(call: ApiCall, forward: Forward) -> Response:
        if call.is_post_to_connection and not bucket.take():
            return error_response("execute-api", 429, "LimitExceededException", "Rate exceeded")
        return await forward()

    return play


# --- faults ----------------------------------------------------------------------------------------------------------
# What an SDK tries again: https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html

THROTTLING_ERRORS = {
    "s3": (503, "SlowDown"), "iam": (400, "Throttling"), "lambda": (429, "TooManyRequestsException"),
    "apigateway": (429, "TooManyRequestsException"), "ec2": (503, "RequestLimitExceeded"),
}  # fmt: skip
INTERNAL_ERRORS = {
    "s3": "InternalError",
    "ec2": "InternalError",
    "ecs": "ServerException",
    "iam": "ServiceFailure",
    "lambda": "ServiceException",
}


def throttling_error(service: str) -> Response:
    """What a service answers to one call too many."""
    status, code = THROTTLING_ERRORS.get(service, (400, "ThrottlingException"))
    return error_response(service, status, code, "Rate exceeded")


def internal_error(service: str) -> Response:
    """What a service answers when it fails itself: status 500."""
    return error_response(service, 500, INTERNAL_ERRORS.get(service, "InternalServerError"), "Internal failure")


async def _faults(share: float, call: ApiCall, forward: Forward) -> Response:
    """A share of all calls of the control plane fails: half of them are throttled, half meet an internal error."""
    if not call.is_control_plane or random.random() >= share:
        return await forward()
    return throttling_error(call.service) if random.random() < 0.5 else internal_error(call.service)


async def _lost_answers(share: float, call: ApiCall, forward: Forward) -> Response:
    """A share of all calls of the control plane is done, but answered with an internal error: so boto3 repeats it."""
    response = await forward()
    is_lost = call.is_control_plane and response.status < 300 and random.random() < share
    return internal_error(call.service) if is_lost else response


async def _message_faults(share: float, call: ApiCall, forward: Forward) -> Response:
    """A share of all posts to connections meets an internal error, and the message is not delivered."""
    if call.is_post_to_connection and random.random() < share:
        return internal_error(call.service)
    return await forward()


# --- an account's settings -------------------------------------------------------------------------------------------


async def _no_public_buckets(call: ApiCall, forward: Forward) -> Response:
    """The account, which is in no organization, blocks public access to all of its buckets, whatever one is set to.

    Its settings can be read, but not be changed here.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html
    """
    names = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    settings = "".join(f"<{name}>true</{name}>" for name in names)
    namespace = "http://awss3control.amazonaws.com/doc/2018-08-20/"
    body = f'<PublicAccessBlockConfiguration xmlns="{namespace}">{settings}</PublicAccessBlockConfiguration>'
    no_organization = "Your account is not a member of an organization."
    public_policy = (
        "User: arn:aws:iam::000000000000:user/learner is not authorized to perform: s3:PutBucketPolicy because "
        "public policies are prevented by the BlockPublicPolicy setting in S3 Block Public Access."
    )
    if call.operation == f"GET {PUBLIC_ACCESS_BLOCK}":
        return Response(200, [(b"content-type", b"application/xml")], body.encode())
    if call.operation in (f"PUT {PUBLIC_ACCESS_BLOCK}", f"DELETE {PUBLIC_ACCESS_BLOCK}"):
        return error_response("s3", 403, "AccessDenied", "Access Denied")
    if call.operation == "DescribeEffectivePolicy":
        return error_response("organizations", 400, "AWSOrganizationsNotInUseException", no_organization)
    if call.service == "s3" and call.operation.startswith("PUT ") and call.query_string == "policy":
        return error_response("s3", 403, "AccessDenied", public_policy)
    return await forward()


async def _strict_simulator(call: ApiCall, forward: Forward) -> Response:
    """IAM's policy simulator refuses a question about actions of different kinds; here, about any two. Assumed."""
    if call.operation == "SimulatePrincipalPolicy" and "ActionNames.member.2" in call.parameters:
        mixture = "Invalid Input: the actions require different authorization information"
        return error_response("iam", 400, "InvalidInput", mixture)
    return await forward()


# --- the table, and how a person chooses from it ---------------------------------------------------------------------


class Trait(NamedTuple):
    """One way in which AWS differs from an emulator."""

    make: Callable[..., Play] | None
    """Makes what plays it, from its number if it has one. None: it is played elsewhere, as `TRAITS` says."""
    number: float | None = None
    """Its usual number; None: it has none."""
    in_all: bool = True
    """Whether "all" means this one, too: not if it changes what can be done at all, or is of a bad day."""


CONNECTS_PER_S = 500.0
"""By default, API Gateway takes that many new WebSocket connections a second, and as many at once, which is assumed.

https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
"""


TRAITS = {
    "delay": Trait(lambda: _delay),
    "control-plane-rate": Trait(_control_plane_rate),
    "new-role": Trait(eventual_consistency.new_role, 10.0),
    "new-service-role": Trait(eventual_consistency.new_service_role, 5.0),
    "late-policy": Trait(eventual_consistency.late_policy, 4.0),
    "stale-lists": Trait(eventual_consistency.stale_lists, 3.0),
    "late-tags": Trait(eventual_consistency.late_tags, 4.0),
    "busy-bucket-name": Trait(eventual_consistency.busy_bucket_name, 8.0),
    "connections-rate": Trait(_connections_rate, REQUESTS_PER_S),
    "connect-rate": Trait(None, CONNECTS_PER_S),  # by `with_traits`
    "concurrency": Trait(None, 10.0),  # by `lambda_service`
    "strict-simulator": Trait(lambda: _strict_simulator),
    "price-list": Trait(lambda: price_list),
    "late-metrics": Trait(None, 20.0),  # by `cloudwatch`; on AWS it is one to three minutes
    "stage-limits": Trait(None),  # by `api_gateway`
    "late-group-deletion": Trait(None, 90.0),  # by `api_gateway`
    "task-start": Trait(None, 20.0),  # this one, and the next four, by `fargate`; on AWS it is 20 to 90 s
    "vcpu-quota": Trait(None, 6.0, in_all=False),
    "no-default-vpc": Trait(None, in_all=False),
    "no-images": Trait(None, in_all=False),
    "task-stops": Trait(None, 20.0, in_all=False),
    "event-size": Trait(None, 240.0),  # in KB; by `appsync`, and so are the next two
    "event-rate": Trait(None, 10_000.0),
    "publish-rate": Trait(None, 25.0),
    "no-public-buckets": Trait(lambda: _no_public_buckets, in_all=False),
    "faults": Trait(lambda share: partial(_faults, share), 0.2, in_all=False),
    "lost-answers": Trait(lambda share: partial(_lost_answers, share), 0.1, in_all=False),
    "slow": Trait(lambda seconds: partial(_slow, seconds), 2.0, in_all=False),
    "message-faults": Trait(lambda share: partial(_message_faults, share), 0.02, in_all=False),
}
"""All traits, by name. The first stands outermost: it meets a call first, and a response last."""


def parse_traits(text: str) -> dict[str, float | None]:
    """The traits that `text` names, in the order of `TRAITS`, each with its number; None if it has none.

    They are names with commas between, as in "delay,stale-lists=30"; "all" means those that are in it, and "" none.
    "@/a/file" means the traits that this file names.
    Raises ValueError for a name that is no trait's, for what is not a number where one belongs, for a number that the
    trait does not take, and for a file that can't be read.
    """
    if text.startswith("@"):
        try:
            text = Path(text[1:]).read_text().strip()
        except (OSError, ValueError) as error:
            raise ValueError(f"The file {text[1:]} can't be read: {error}.") from None
    found: dict[str, float | None] = {}
    for word in filter(None, text.split(",")):
        name, equals, value = word.partition("=")
        if name == "all" and not equals:
            found = {each: trait.number for each, trait in TRAITS.items() if trait.in_all} | found
        elif name not in TRAITS:
            raise ValueError(f"There is no trait {name}: the traits are {', '.join(TRAITS)}.")
        elif not equals:
            found[name] = TRAITS[name].number
        elif TRAITS[name].number is None:
            raise ValueError(f"The trait {name} takes no number.")
        elif not re.fullmatch(r"\d+(\.\d+)?", value):
            raise ValueError(f'The trait {name} takes a number, and "{value}" is none.')
        else:
            found[name] = float(value)
    return {name: found[name] for name in TRAITS if name in found}


def with_traits(app: App, text: str) -> App:
    """The application with the traits that `text` names, as `parse_traits` reads it. Raises what that does.

    The traits of a file change when the file does, except those that are played elsewhere.
    """
    if text.startswith("@"):
        return _with_traits_of_file(app, Path(text[1:]))
    chosen = parse_traits(text)
    plays: list[Play] = []
    for name, number in chosen.items():
        if make := TRAITS[name].make:
            plays.append(make() if number is None else make(number))
    connects_per_s = chosen.get("connect-rate")
    handshakes = None if connects_per_s is None else TokenBucket(connects_per_s, connects_per_s)

    async def playing(scope: Scope, receive: Receive, send: Send) -> None:
        is_chat = scope["type"] == "websocket" and not scope.get("path", "").endswith(REALTIME_PATH)
        if is_chat and handshakes and not handshakes.take():
            await receive()
            await send({"type": "websocket.http.response.start", "status": 429, "headers": []})
            await send({"type": "websocket.http.response.body", "body": b'{"message": "Too Many Requests"}'})
        elif scope["type"] == "http" and plays:
            await _play(plays, app, scope, receive, send)
        else:
            await app(scope, receive, send)

    return playing if plays or handshakes else app


async def _play(plays: list[Play], app: App, scope: Scope, receive: Receive, send: Send) -> None:
    body = await read_body(receive)
    call = parse_call(scope, body)

    async def forward() -> Response:
        """The application's response, as a whole."""
        response = Response(500, [], b"")

        async def take(message: Message) -> None:
            if message["type"] == "http.response.start":
                response.status, response.headers = message["status"], list(message.get("headers", []))
            elif message["type"] == "http.response.body":
                response.body += message.get("body", b"")

        await app(scope, replay(body, receive), take)
        return response

    outermost: Forward = forward
    for play in reversed(plays):
        outermost = partial(play, call, outermost)
    response = await outermost()
    headers = response.headers
    if scope["method"] != "HEAD":  # there the length is that of a body which is not sent
        headers = [(name, value) for name, value in headers if name.lower() != b"content-length"]
        headers.append((b"content-length", str(len(response.body)).encode()))
    await Response(response.status, headers, response.body).send(send)


def _with_traits_of_file(app: App, file: Path) -> App:
    """The application with the traits that the file names at the time of each request."""

    @lru_cache(maxsize=1)
    def read(inode: int, modified_ns: int) -> App:  # two files may be written within one tick of the file system
        return with_traits(app, file.read_text().strip())

    async def playing(scope: Scope, receive: Receive, send: Send) -> None:
        status = file.stat()
        await read(status.st_ino, status.st_mtime_ns)(scope, receive, send)

    return playing
