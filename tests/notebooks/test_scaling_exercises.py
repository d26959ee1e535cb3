"""The exercises of notebook 08: a wrong answer gets the sentence that helps, and several answers are right."""

import math

import pytest

from chatlab.cost import MIN_SERVERS, PRICES, SERVER_HOUR_DOLLARS
from chatlab.exercises.measuring import check_busy_from, check_dollars, check_room

PRICE = PRICES["WebSocket messages"]


@pytest.mark.parametrize(
    ("check", "made", "sentence"),
    [
        (check_room, "many", "give a whole number of people"),
        (check_room, 0, "give a whole number of people"),
        (check_room, 1_000, "there is time for more"),
        (check_room, 10_000, "try fewer"),
        (check_room, 1_000_000, "the quota alone takes"),
        (check_dollars, lambda people, messages: 30 * messages * people * PRICE, "on its way in, too"),
        (check_dollars, lambda people, messages: 30 * messages * PRICE, "count the people"),
        (check_dollars, lambda people, messages: messages * (1 + people) * PRICE, "that is one day"),
        (check_dollars, lambda people, messages: 30 * messages * (1 + people), "3.06 dollars, and it says 3.06e+06"),
        (check_dollars, lambda people, messages: None, "it ended with TypeError"),
        (check_busy_from, lambda people: SERVER_HOUR_DOLLARS / ((1 + people) * PRICE), "2 are needed"),
        (check_busy_from, lambda people: 0.29 / (people * PRICE), "metered on its way in, too"),
        (check_busy_from, lambda people: 0.29 / PRICE, "a delivery for each person"),
        (check_busy_from, lambda people: 0.29 / ((1 + people) * PRICE) / 3600, "messages a second"),
        (check_busy_from, lambda people: 0, "pays for 290 messages to 1,000 people, and it says 0"),
        (check_busy_from, lambda people: people / 0, "it ended with ZeroDivisionError"),
    ],
)
def test_a_wrong_answer_gets_a_sentence_that_helps(check, made, sentence):
    answer = check(None, made)
    assert not answer.is_right
    assert sentence in answer.message


def busy_from(people):
    """By trying, not by dividing."""
    messages = 1
    while messages * (1 + people) * PRICE < MIN_SERVERS * SERVER_HOUR_DOLLARS:
        messages += 1
    return messages


@pytest.mark.parametrize(
    ("check", "made"),
    [
        (check_room, 7_000),
        (check_room, 7_600),
        (check_dollars, lambda people, messages: sum([messages * PRICE * (people + 1)] * 30)),
        (check_dollars, lambda people, messages: 30 * messages * (people * PRICE + PRICE)),
        (check_busy_from, lambda people: math.ceil(2 * SERVER_HOUR_DOLLARS / (PRICE + people * PRICE))),
        (check_busy_from, busy_from),
    ],
)
def test_there_is_more_than_one_right_answer(check, made):
    answer = check(None, made)
    assert answer.is_right, answer
