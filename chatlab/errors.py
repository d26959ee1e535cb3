"""The one exception that a person may meet: a sentence that says what is wrong and what to do."""

import os
import signal
import stat
import sys
import traceback
from contextlib import contextmanager

from botocore.exceptions import ClientError

from chatlab.privacy import masked

# What the services say of what is not there. 404 is what S3 answers to a HEAD, which has no room for words.
NOT_FOUND = frozenset(
    {"404", "NoSuchBucket", "NoSuchEntity", "NoSuchTagSet", "NotFoundException", "ResourceNotFoundException"}
)


class LabError(Exception):
    """Something that the person at the keyboard can put right. What is private in its sentence is masked."""

    def __init__(self, sentence):
        super().__init__(masked(sentence))

    def _render_traceback_(self):
        # IPython asks an exception for this: in a notebook the sentence stands alone, without a traceback above it.
        return [f"{type(self).__name__}: {self}"]


class NotOurs(LabError):
    """What has the lab's name, and is somebody else's: it was left as it was."""


@contextmanager
def unless_gone():
    """What AWS does not find within is gone, and that is no error: its lists and tags lag behind, and still name it."""
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] not in NOT_FOUND:
            raise


def exit_status(command):
    """`command()` as all that a process does: its answer, or 1 after a LabError or Ctrl-C, which it says.

    Being ended (SIGTERM), and losing the terminal (SIGHUP, unless that is ignored, as by nohup), are like Ctrl-C, so
    that what was started is stopped then, too.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _lost_terminal)
    try:
        return command()
    except LabError as error:
        print(error, file=sys.stderr)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
    except Exception:  # a fault of the lab's own
        print(masked(traceback.format_exc()), file=sys.stderr)
    return 1


def nobody_reads():
    """Whatever is still said goes nowhere: writing to a terminal or a pipe that is gone would be an error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _lost_terminal(number, frame):
    if not stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode):
        nobody_reads()
    raise KeyboardInterrupt
