"""The waterfall of one broadcast: which log line is its own, and what the times are if the clocks differ."""

import numpy as np
import pytest

from chatlab import poll, waterfall
from tests.support.chat import people
from tests.support.measured import MS, NOW, result_of

CONNECTIONS, BROADCASTS = 20, 10
WAY_IN_MS, SCAN_MS, POST_MS = 12.0, 6.0, 40.0
FIRST_MS = WAY_IN_MS + SCAN_MS + 3  # the way out takes 3 ms


def measured(late_ms=()):
    """A load test: a broadcast each 500 ms reaches a connection each 2 ms, and some have to wait for their turn."""
    latency_ms = np.tile(FIRST_MS + 2.0 * np.arange(CONNECTIONS), (BROADCASTS, 1))
    for broadcast, wait_ms in dict(late_ms).items():
        latency_ms[broadcast] += wait_ms
    return result_of(latency_ms, warm_up=1, speaker=[number % 3 for number in range(BROADCASTS)])


def log_of(result, clock_ms=0.0):
    """The log lines of a load test's broadcasts, by a clock that is ahead by this much."""
    return [
        {
            "event": "broadcast", "connection_id": f"speaker-{row.speaker}", "scan_ms": SCAN_MS,
            "began_ms": round(row.intended_ns / MS + row.first_ms - SCAN_MS - 3 + clock_ms, 1),
            "first_post_ms": SCAN_MS, "post_ms": POST_MS,
        }
        for row in result.broadcasts.itertuples()
    ]  # fmt: skip


def stranger(ms, clock_ms=0.0):
    """The log line of somebody else's broadcast, which began this long after the load test's first was said."""
    times = {"scan_ms": 1.0, "first_post_ms": 1.0, "post_ms": 1.0}
    return {"event": "broadcast", "connection_id": "stranger", "began_ms": NOW / MS + ms + clock_ms, **times}


def times(found):
    return [found.began_ms, found.read_ms, found.first_post_ms, found.answered_ms]


def test_every_part_of_the_wait_has_a_name_and_they_add_up():
    result = measured()
    found = waterfall.match(log_of(result), result, broadcast=4)
    assert times(found) == pytest.approx([12, 18, 18, 58], abs=0.1)
    assert found.deliveries_ms == pytest.approx(FIRST_MS + 2 * np.arange(CONNECTIONS), abs=0.001)
    assert found.parts == pytest.approx({"the way in": 12, "reading the table": 6, "posting": 41}, abs=0.1)
    assert sum(found.parts.values()) == pytest.approx(found.deliveries_ms[-1])
    assert found.uncertainty_ms == 0
    said = "Of the 59.0 ms that the last one waits, 12.0 ms are the way in, 6.00 ms reading the table, 41.0 ms posting"
    assert str(found) == said


def test_a_broadcast_that_posts_before_it_has_read_the_table_does_not_wait_for_it():
    result = measured()
    lines = [line | {"scan_ms": 30.0} for line in log_of(result)]
    found = waterfall.match(lines, result, broadcast=4)
    assert times(found) == pytest.approx([12, 42, 18, 58], abs=0.1)
    assert found.parts == pytest.approx({"the way in": 12, "to the first post": 6, "posting": 41}, abs=0.1)


def test_without_a_number_it_is_the_measured_broadcast_in_the_middle():
    result = measured(late_ms={0: 30, 1: 20, 2: 10, 5: 1, 6: 2, 7: 3, 8: 4, 9: 5})
    assert waterfall.match(log_of(result), result).broadcast == 7


@pytest.mark.parametrize("clock_ms", [0, 3_000, -20_000])
def test_the_difference_of_the_clocks_lies_between_two_bounds_and_is_said(clock_ms):
    """The way in and the way out are 15 ms together, and nobody knows how much of it is which."""
    result = measured()
    found = waterfall.match(log_of(result, clock_ms), result, broadcast=4, is_same_clock=False)
    assert found.uncertainty_ms == pytest.approx(7.5, abs=0.1)
    assert found.began_ms == pytest.approx(7.5, abs=0.1)
    assert abs(found.began_ms - WAY_IN_MS) <= found.uncertainty_ms
    assert np.diff(times(found)) == pytest.approx([6, 0, 40])


def test_another_broadcast_that_waited_less_narrows_the_bounds():
    result = measured(late_ms={4: 100})
    found = waterfall.match(log_of(result, 5_000), result, broadcast=4, is_same_clock=False)
    assert found.uncertainty_ms == pytest.approx(7.5, abs=0.1)
    assert found.began_ms == pytest.approx(107.5, abs=0.1)


@pytest.mark.parametrize("clock_ms", [0, 3_000])
def test_a_broadcast_that_waits_for_the_ones_before_gets_its_own_line(clock_ms):
    result = measured(late_ms={3: 600, 4: 700, 5: 400})
    lines = log_of(result, clock_ms)
    for broadcast in (3, 4, 5):
        found = waterfall.match(lines, result, broadcast, is_same_clock=not clock_ms)
        assert found.began_ms - found.uncertainty_ms <= {3: 612, 4: 712, 5: 412}[broadcast]
        assert found.began_ms + found.uncertainty_ms >= {3: 612, 4: 712, 5: 412}[broadcast] - 0.1


@pytest.mark.parametrize("clock_ms", [0, 3_000])
def test_what_other_people_say_meanwhile_is_not_taken_for_the_load_tests(clock_ms):
    result = measured()
    others = [stranger(ms, clock_ms) for ms in (-70, 250, 2_014, 2_018, 3_700)]
    lines = sorted([*log_of(result, clock_ms), *others], key=lambda line: line["began_ms"])
    found = waterfall.match(lines, result, broadcast=4, is_same_clock=not clock_ms)
    assert found.answered_ms - found.first_post_ms == pytest.approx(POST_MS)


def test_a_line_that_has_not_come_yet_is_waited_for_and_then_none_is_guessed():
    result = measured()
    lines = log_of(result)
    assert waterfall.match([], result) is None
    late = [line for number, line in enumerate(lines) if number != 2]
    assert waterfall.match(late, result, broadcast=4) is None  # yet
    assert waterfall.match(late, result, broadcast=4, min_share=0.5).began_ms == pytest.approx(12, abs=0.1)
    assert waterfall.match(late, result, broadcast=2, min_share=0.5) is None


def test_the_picture_states_the_finding_and_how_sure_it_is():
    result = measured()
    same, other = (waterfall.match(log_of(result, ms), result, 4, is_same_clock=not ms) for ms in (0, 3_000))
    figure = waterfall.plot(same)
    assert "the way in from 0.0 to 12.0 ms" in figure.alt and "20 deliveries" in figure.alt and "±" not in figure.alt
    assert figure.png.startswith(b"\x89PNG")
    assert "± 7.5" in waterfall.plot(other).alt


def test_the_log_has_the_lines_of_a_chats_broadcasts_and_no_others(chat):
    result = measured()
    result.broadcasts["sent_ns"] //= 2  # long ago
    before = len(waterfall.read_log(chat, result))
    with people(chat, 1) as (ada,):
        ada.send("hello")
        assert ada.recv() == "hello"
        ada.send("")  # says nothing
        ada.send("again")
        assert ada.recv() == "again"
    chat.client("lambda").invoke(FunctionName=chat.functions["default"], Payload=b"{}")  # an error, without times
    poll(lambda: len(waterfall.read_log(chat, result)) == before + 2, "the log lines", timeout_s=5)
    assert [line["delivered"] for line in waterfall.read_log(chat, result)[-2:]] == [1, 1]


def test_without_a_log_line_or_the_permission_to_read_it_a_sentence_says_so(chat, monkeypatch, capsys):
    monkeypatch.setitem(waterfall.TIMEOUT_S, "local", 0.1)
    assert waterfall.find(chat, measured()) is None
    monkeypatch.setitem(chat.log_groups, "default", "/aws/lambda/nobodys")
    assert waterfall.find(chat, measured()) is None
    said = capsys.readouterr().out.splitlines()
    assert [line.split(". ")[0] for line in said] == ["There is no waterfall of this message"] * 2
    assert "in vain" in said[0] and "ResourceNotFoundException" in said[1]
