"""The exercises of notebook 07: right answers of several kinds, and each mistake with the sentence that helps."""

import asyncio
import math
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from chatlab.exercises.measuring import check_post_all, check_send, check_worth


def forgiving(post):
    def try_to_post(connection_id):
        with suppress(ConnectionError):
            post(connection_id)

    return try_to_post


def in_threads(post, connection_ids, number=4):
    with ThreadPoolExecutor(number) as pool:
        list(pool.map(forgiving(post), connection_ids))


async def in_tasks(post, connection_ids):
    await asyncio.gather(*(asyncio.to_thread(post, each) for each in connection_ids), return_exceptions=True)


def in_a_loop_of_its_own(post, connection_ids):
    asyncio.run(in_tasks(post, connection_ids))


def once_more(kept, connect, request):
    for make in (lambda: kept, connect):
        try:
            return make()(request)
        except ConnectionError as error:
            failed = error
    raise failed


def nested(kept, connect, request):
    try:
        return kept(request)
    except ConnectionError:
        return connect()(request)


@pytest.mark.parametrize(
    ("check", "made"),
    [
        (check_post_all, in_threads),
        (check_post_all, lambda post, ids: in_threads(post, ids, 16)),
        (check_post_all, in_tasks),
        (check_post_all, in_a_loop_of_its_own),
        (check_worth, lambda answer_ms, cpu_ms: 1 + math.ceil(answer_ms / cpu_ms)),
        (check_worth, lambda answer_ms, cpu_ms: int(-(-(answer_ms + cpu_ms) // cpu_ms))),
        (check_send, once_more),
        (check_send, nested),
    ],
)
def test_each_right_answer_is_right(check, made):
    answer = check(None, made)
    assert answer.is_right, answer


async def one_at_a_time(post, connection_ids):
    for each in connection_ids:
        await asyncio.to_thread(forgiving(post), each)


def without_end(kept, connect, request):
    while True:
        try:
            return kept(request)
        except ConnectionError:
            kept = connect()


def silent(kept, connect, request):
    try:
        return nested(kept, connect, request)
    except ConnectionError:
        return None


@pytest.mark.parametrize(
    ("check", "made", "message"),
    [
        (check_post_all, lambda post, ids: [post(each) for each in ids], "catch that where the post is made"),
        (check_post_all, lambda post, ids: None, "40 of 40 people have heard nothing"),
        (check_post_all, lambda post, ids: in_threads(post, ids[:20]), "20 of 40 people have heard nothing"),
        (check_post_all, lambda post, ids: in_threads(post, 2 * ids), "somebody has heard it twice"),
        (check_post_all, one_at_a_time, "no more than 1 posts were under way"),
        (check_post_all, lambda post, ids: in_threads(post, ids, 2), "no more than 2 posts were under way"),
        (check_worth, lambda answer_ms, cpu_ms: 8, "8 under way, 8 ms for an answer and 1 ms of CPU"),
        (check_worth, lambda answer_ms, cpu_ms: (answer_ms + cpu_ms) / cpu_ms, "return a whole number"),
        (check_worth, lambda answer_ms, cpu_ms: math.ceil(answer_ms / cpu_ms) + 2, "9 under way keep the CPU busy"),
        (check_worth, lambda answer_ms, cpu_ms: 1 / 0, "it ended with ZeroDivisionError"),
        (check_send, lambda kept, connect, request: kept(request), "this client missed the message"),
        (check_send, lambda kept, connect, request: connect()(request), "opening takes longer than a post"),
        (check_send, without_end, "let the second error out"),
        (check_send, silent, "let the second error out"),
        (check_send, lambda kept, connect, request: [kept(request)], "return the status"),
    ],
)
def test_a_mistake_is_a_sentence(check, made, message):
    answer = check(None, made)
    assert not answer.is_right
    assert message in answer.message
