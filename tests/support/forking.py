"""Fork Locust whenever a line of standard input asks for it: the other side of tests/support/fork_server.py.

What is forked reads its command line, its environment and its locustfile as `python -m locust` does.
"""

import gc
import json
import os
import signal
import sys
import tempfile

import gevent
import locust.main  # before all that follows: it makes the standard library cooperate
import scipy.stats  # noqa: F401

import loadtest.coordinator
import loadtest.generator
import loadtest.web  # noqa: F401


def serve():
    """Answer one request after another until the one who asks has ended. Returns in each forked process, too."""
    waitpid = gevent.monkey.get_original("os", "waitpid")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    gc.freeze()  # what is imported stays: no fork looks through it, and so none needs pages of its own for it
    for line in sys.stdin:
        request = json.loads(line)
        if "poll" in request:
            pid, status = waitpid(request["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        elif not (answer := gevent.fork()):
            become(**request)
            return locust.main.main()
        print(json.dumps(answer), flush=True)


def become(words, environment, output):
    """Make this process what a new one would be, with these words as its command line."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    nothing, said = os.open(os.devnull, os.O_RDONLY), os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for source, target in ((nothing, 0), (said, 1), (said, 2)):
        os.dup2(source, target)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    sys.argv = words


if __name__ == "__main__":
    serve()
