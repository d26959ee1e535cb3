"""How many people the chat carries: `loadtest.capacity` searches, and here is what it can't know of a chat on AWS."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

from botocore.exceptions import BotoCoreError, ClientError

from chatlab import cost, limits, room_key, waterfall
from chatlab.lab import STAGE, Lab
from chatlab.limits import Quotas
from chatlab.packages import FAST, require_deployed
from loadtest import plots, warm_up
from loadtest.capacity import WARM_UP, Goal, Search
from loadtest.results import Result

__all__ = ["Goal", "Search", "explain", "of_chat", "on_aws"]


def of_chat(lab: Lab, folder: Path, goal: Goal, minutes: float = 10.0, max_dollars: float = 1.0) -> Search:
    """The search for the lab's own chat. Raises LabError if there is none, or other code runs in it."""
    handler, url = require_deployed(lab), lab.websocket_url(lab.require_api())
    room_key.give_to_load_test(lab)
    quotas = limits.read_quotas(lab)
    stage = lab.client("apigatewayv2").get_stage(ApiId=lab.require_api(), StageName=STAGE)["DefaultRouteSettings"]
    # Notebook 06 explains this rule.
    allowed = min(quotas.max_connects_per_s(warm_up.handshake_s(url)), 0.9 * stage["ThrottlingRateLimit"])
    search = Search(url, folder, goal, allowed, minutes, max_dollars=max_dollars, explain=partial(explain, lab))
    if lab.target == "aws":
        fast = {"posts_per_second": cost.POSTS_SHARE * quotas.requests_per_s}
        own = {"prices": cost.read_prices(lab), **(fast if handler == FAST else cost.OBVIOUS)}
        search.price = lambda people, broadcasts, seconds: (
            cost.estimate(people, broadcasts + WARM_UP, minutes=seconds / 60, **own).dollars
        )
    return search


def explain(lab: Lab, result: Result, broadcast: int) -> str:
    """What the last one of a late message waits for, as a clause, by the broadcasts' log lines; "" without them."""
    try:
        message, lines = waterfall.find(lab, result, broadcast), waterfall.read_log(lab, result)
    except (BotoCoreError, ClientError):  # what is known already must not get lost
        return ""
    first_ms = result.broadcasts["sent_ns"].min() / 1e6 - 1000
    lines = [line for line in lines if line["began_ms"] >= first_ms]
    if not message or not lines:
        return ""
    if throttled := sum(line.get("throttled", 0) for line in lines):
        return f"API Gateway refused {throttled:,} posts with 429, the quota of requests a second"
    name, part_ms = max(message.parts.items(), key=lambda part: part[1])
    clause = f"{name} takes {plots.format_ms(part_ms)} of {plots.format_ms(message.deliveries_ms[-1])}"
    if median(line["cpu_ms"] / max(1.0, line["post_ms"]) for line in lines) > 0.8:
        return f"{clause}, and the function's processor is busy"
    return f"{clause}, in the local cloud's one process" if lab.target == "local" else clause


def on_aws(lab: Lab, goal: Goal, quotas: Quotas) -> str:
    """What the forecast says of the fast broadcast on AWS with these quotas, in two sentences."""
    parameters = replace(
        limits.DEFAULT,
        requests_per_s=quotas.requests_per_s,
        concurrency=quotas.concurrency,
        kept=limits.DEFAULT.in_flight,  # as in the search, in which messages come all the time
    )
    people, ends = limits.largest_room(parameters, goal.within_s, goal.rate)
    people = round(people, 2 - len(f"{people}"))  # to two digits: more are not known
    prices, posts_per_s = cost.read_prices(lab), parameters.shared_per_s
    an_hour = cost.estimate(people, round(3600 * goal.rate), minutes=60, posts_per_second=posts_per_s, prices=prices)
    whose = "your account's" if lab.target == "aws" else "AWS's default"
    return (
        f"On AWS it is about {people:,} people, computed with {whose} quotas: what ends it is {ends}. There such a "
        f"room costs about {an_hour.dollars:,.2f} US dollars an hour."
    )
