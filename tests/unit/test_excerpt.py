"""A part of a file, as a notebook shows it."""

import pytest

from chatlab.excerpt import excerpt


def test_a_class_and_a_method_are_shown_as_they_are_written():
    assert "class ChatUser(User):" in excerpt("loadtest/locustfile.py", "ChatUser").data
    text = excerpt("lambdas/event_loop.py", "EventLoop._send", "EventLoop._send_next").data
    assert text.startswith("# lambdas/event_loop.py\n\ndef _send(self")
    assert "\n\ndef _send_next(self" in text


def test_what_is_not_there_is_an_error():
    with pytest.raises(KeyError):
        excerpt("loadtest/locustfile.py", "Nobody")
