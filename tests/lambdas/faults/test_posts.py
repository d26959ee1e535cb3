"""Posts that fail: by a status, a connection that breaks, an answer that gets lost, a function that ends half way."""

import psutil
import pytest

from chatlab import local_cloud, poll
from chatlab.paths import state_dir
from tests.support.chat import say
from tests.support.faults import PEOPLE, counts, counts_of, heard, is_heard_by_all, restart, set_age, told
from tests.support.faulty_cloud import Fault, set_faults

NUMBERS = {"one": 1, "a tenth": PEOPLE // 10, "all": PEOPLE}
# What the log line says of the n people whose posts fail so, and how often these hear it.
EXPECTED = {
    ("410", "always"): ("gone", 0),
    ("429", "once"): ("delivered", 1),
    ("429", "always"): ("unreached", 0),
    ("500", "once"): ("delivered", 1),
    ("500", "always"): ("failed", 0),
    ("slow", "always"): ("delivered", 1),
    ("reset", "once"): ("delivered", 1),
    ("reset", "always"): ("failed", 0),
    ("lost", "once"): ("delivered", 2),
    ("lost", "always"): ("failed", 4),
}
BREAKS = ("reset", "lost")  # the connection: of one that was idle before, the first is none of a post's four attempts
SHORT = {("410", "always"), ("429", "once"), ("500", "once"), ("reset", "once"), ("lost", "once")}
POSTS = [
    pytest.param(kind, often, who, marks=[] if who == "a tenth" and (kind, often) in SHORT else pytest.mark.long)
    for kind, often in EXPECTED
    for who in NUMBERS
]


@pytest.mark.parametrize(("kind", "often", "who"), POSTS)
def test_posts_that_fail(faulty, room, report, kind, often, who):
    n = NUMBERS[who]
    outcome, copies = EXPECTED[kind, often]
    set_age(faulty, room.ids, age_s=0)  # whom a 410 does not forget
    text, again = f"{kind} {often} {who}", f"after {kind} {often} {who}"
    if outcome == "unreached":  # it goes on for as long as there is time, or until a client seems not to read
        restart(faulty, 4)
    set_faults(state_dir(), Fault("PostToConnection", kind, ids=room.ids[:n], times=1 if often == "once" else None))
    log = say(faulty, text)
    if outcome == "unreached":
        restart(faulty, 30)
    set_faults(state_dir())
    afterwards = say(faulty, again)
    is_heard_by_all(room, again)
    report.append((kind, who, often, *heard(room, text), told(log), told(afterwards)))
    excused = log["retried"] - 3 * n if kind in BREAKS and often == "always" else 0
    assert 0 <= excused <= n
    assert log["retried"] - excused == (
        {"once": n, "always": 3 * n}[often] if kind in ("500", *BREAKS) else log["throttled"]
    )
    once_more = excused if kind == "lost" else 0
    assert sorted(room.copies(text)[:n]) == [copies] * (n - once_more) + [copies + 1] * once_more
    assert room.copies(text)[n:] == [1] * (PEOPLE - n)
    if outcome == "unreached":  # but for those to whom a post was just under way when the time was over
        log |= {"unreached": log["unreached"] + log["failed"], "failed": 0}
    assert counts(log) == counts_of(
        {"delivered": PEOPLE - n, outcome: n} if outcome != "delivered" else {"delivered": PEOPLE}
    )
    assert bool(log["throttled"]) == (kind == "429")
    assert counts(afterwards) == counts_of({"delivered": PEOPLE})
    assert room.copies(again) == [1] * PEOPLE


def workers(lab):
    """The processes of the broadcast's function, a list of psutil's."""
    children = psutil.Process(local_cloud.status()["pid"]).children(recursive=True)
    return [
        process for process in children if any(f"-{lab.functions['default']}-" in word for word in process.cmdline())
    ]


def test_a_broadcast_that_is_killed_half_way_is_told_to_its_speaker_and_the_next_is_whole(faulty, room):
    n = PEOPLE // 2
    say(faulty, "warm")
    set_faults(state_dir(), Fault("PostToConnection", "500", ids=room.ids[n:]))  # they are going to be tried again
    room.say(0, "half")
    poll(lambda: all(room.copies("half")[:n]), "the first half to hear it", every_s=0.005)
    (worker,) = workers(faulty)
    worker.kill()
    poll(
        lambda: any('"Internal server error"' in text for text in room.heard[0]), "the speaker to be told", every_s=0.02
    )
    set_faults(state_dir())
    log = say(faulty, "whole")
    is_heard_by_all(room, "whole")
    assert counts(log) == counts_of({"delivered": PEOPLE})
    assert room.copies("half") == [1] * n + [0] * n
    assert room.copies("whole") == [1] * PEOPLE
    assert not worker.is_running() and len(workers(faulty)) == 1
    assert not any("Worker" in text for heard in room.heard for text in heard)


def test_of_50_messages_at_once_to_a_function_that_has_not_started_each_is_heard_once(faulty, room):
    restart(faulty, 30)
    texts = [f"cold {number}" for number in range(50)]
    for number, text in enumerate(texts):
        room.say(number % PEOPLE, text)
    for text in texts:
        is_heard_by_all(room, text)
    assert all(room.copies(text) == [1] * PEOPLE for text in texts)
