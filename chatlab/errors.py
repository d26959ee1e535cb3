"""The one exception that a person may meet: a sentence that says what is wrong and what to do."""

import os
import signal
import stat
import sys
import traceback
from contextlib import contextmanager

from botocore.exceptions import ClientError

from chatlab.privacy import redact
from loadtest.errors import LoadTestError

# What the services say of what is not there. 404 is what S3 answers to a HEAD, which has no room for words.
NOT_FOUND = frozenset(
    {"404", "NoSuchBucket", "NoSuchEntity", "NoSuchTagSet", "NotFoundException", "ResourceNotFoundException"}
)

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# `python -m chatlab` takes a second or two to load, and Ctrl-C is to end that without a traceback. Until it is found,
# its name is "-m": https://docs.python.org/3/library/sys.html#sys.argv
if sys.argv[0] == "-m" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class LabError(Exception):
    """Something that the person at the keyboard can put right. What is private in its sentence is masked."""

    def __init__(self, sentence):
        super().__init__(redact(sentence))

    def _render_traceback_(self):
        # IPython asks an exception for this: in a notebook the sentence stands alone, without a traceback above it.
        return [f"{type(self).__name__}: {self}"]


class NotOurs(LabError):
    """What has the lab's name, and is somebody else's: it was left as it was."""


@contextmanager
def ignore_missing():
    """What AWS does not find within is gone, and that is no error: its lists and tags lag behind, and still name it."""
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] not in NOT_FOUND:
            raise


def exit_status(command):
    """`command()` as all that a process does: its answer, or 1 after a LabError, a LoadTestError or Ctrl-C.

    Being ended (SIGTERM), and losing the terminal (SIGHUP), are like Ctrl-C, so that what was started is stopped then,
    too. A signal that is ignored, as SIGHUP by nohup, stays so.
    """
    interrupting = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.default_int_handler}
    try:
        _handle(interrupting | {signal.SIGHUP: _lost_terminal})
        try:
            return command()
        finally:  # all that was started is stopped: from here on a signal ends this process, without a word
            _handle(dict.fromkeys(STOPPING, signal.SIG_DFL))
    except (LabError, LoadTestError) as error:
        print(redact(f"{error}"), file=sys.stderr)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
    except BrokenPipeError:
        discard_output()
    except Exception:  # a fault of the lab's own
        print(redact(traceback.format_exc()), file=sys.stderr)
    return 1


@contextmanager
def uninterrupted():
    """Nothing of what stops a command does so within, which is for what takes seconds and must not be half done."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _handle(handlers):
    for number, handler in handlers.items():
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def discard_output():
    """Whatever is still said goes nowhere: writing to a terminal or a pipe that is gone would be an error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _lost_terminal(number, frame):
    if not stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode):
        discard_output()
    raise KeyboardInterrupt
