"""The exercises of notebook 07: how large a room, at what price, and posts side by side."""

import threading
from collections import Counter
from collections.abc import Callable

from chatlab import limits
from chatlab.cost import PRICES
from chatlab.exercises import Answer, forgiving, not_yet, right
from chatlab.lab import Lab

TOGETHER = 8
"""Posts that have to be under way at a time."""


def check_room(lab: Lab, people: object) -> Answer:
    """The largest room, to a tenth, that a broadcast reaches within a second at AWS's default quotas."""
    if not isinstance(people, int) or people < 1:
        return not_yet("give a whole number of people.")
    if people > 100_000:
        return not_yet(f"the quota alone takes {people / limits.DEFAULT.shared_per_s:.0f} s for that.")
    last_s, more_s = (limits.forecast(limits.DEFAULT, number).last_s for number in (people, people * 11 // 10))
    if last_s > 1:
        return not_yet(f"the model says {last_s:.2f} s for {people:,} people: try fewer.")
    if more_s <= 1:
        return not_yet(f"the model says {last_s:.2f} s for {people:,} people: there is time for more.")
    rate = f"{limits.DEFAULT.shared_per_s:,.0f} posts a second"
    return right(f"{people:,} people take {last_s:.2f} s: {rate}, less what it takes to begin.")


@forgiving
def check_dollars(lab: Lab, dollars_a_month: Callable[[int, int], float]) -> Answer:
    """`dollars_a_month(people, messages_a_day)`: what 30 days of it cost in metered messages, in and out."""
    for people, messages in ((50, 2_000), (1_000, 86_400), (1, 1)):
        expected = 30 * messages * (people + 1) * PRICES["WebSocket messages"]
        found = float(dollars_a_month(people, messages))
        if abs(found - expected) > 1e-6 * expected:
            return not_yet(
                f"{messages:,} messages a day to {people:,} people are {30 * messages * (people + 1):,} metered "
                f"messages in 30 days, {expected:.3g} dollars, and it says {found:.3g}."
            )
    return right("each message is metered once on its way in, and once for each who gets it.")


class _Room:
    """Connections to which one can post. One of them has gone."""

    def __init__(self, people: int) -> None:
        self.connection_ids = [f"connection-{number}" for number in range(people)]
        self.gone = self.connection_ids[people // 2]
        self.posted: Counter[str] = Counter()
        self.most_under_way = self._under_way = 0
        self._lock, self._together, self._is_alone = threading.Lock(), threading.Event(), False

    def post(self, connection_id: str) -> None:
        """Takes until enough others are under way, or until it is clear that none come."""
        with self._lock:
            self._under_way += 1
            self.most_under_way = max(self.most_under_way, self._under_way)
            if self._under_way >= TOGETHER:
                self._together.set()
        if not self._is_alone and not self._together.wait(0.5):
            self._is_alone = True
        with self._lock:
            self._under_way -= 1
            self.posted[connection_id] += 1
        if connection_id == self.gone:
            raise ConnectionError("410 GoneException")


@forgiving
def check_post_all(lab: Lab, post_all: Callable[[Callable[[str], None], list[str]], object]) -> Answer:
    """`post_all(post, connection_ids)`: posts to each of them once, several at a time, though one has gone."""
    room = _Room(40)
    try:
        post_all(room.post, list(room.connection_ids))
    except ConnectionError as error:
        return not_yet(f"one who has gone (“{error}”) ended it: catch that where the post is made.")
    missed = [connection_id for connection_id in room.connection_ids if not room.posted[connection_id]]
    if missed:
        return not_yet(f"{len(missed)} of {len(room.connection_ids)} people have heard nothing.")
    if max(room.posted.values()) > 1:
        return not_yet("somebody has heard it twice.")
    if room.most_under_way < TOGETHER:
        return not_yet(f"no more than {room.most_under_way} posts were under way at a time: try a pool of threads.")
    return right(
        f"up to {room.most_under_way} posts were under way at a time. If each waits 10 ms for its answer, that is "
        f"{100 * room.most_under_way:,} a second instead of 100."
    )
