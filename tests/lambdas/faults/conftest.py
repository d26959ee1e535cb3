"""Delivery under faults: the real functions, real sockets, and a local cloud that fails at its front door.

Of each fault: what is heard, whether the broadcast's log line accounts for exactly that, and whether the next broadcast
is whole. `python -m pytest tests/lambdas/faults` prints the table that docs/reliability.md has.
"""

import pytest

from chatlab.paths import state_dir
from tests.support.faults import PEOPLE, a_faulty_chat
from tests.support.faulty_cloud import set_faults
from tests.support.room import people_in
from tests.support.tables import reported


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """One for all cases."""
    with a_faulty_chat(tmp_path_factory.mktemp("faulty")) as lab:
        yield lab


@pytest.fixture(scope="module")
def room(faulty):
    """The same people throughout: whatever fails, nobody's connection is closed."""
    with people_in(faulty, PEOPLE) as room:
        yield room


@pytest.fixture(autouse=True)
def well_again(request):
    yield
    if "faulty" in request.fixturenames:
        set_faults(state_dir())


@pytest.fixture(scope="module")
def report(request):
    """Rows of the table of all cases, which is printed at the end."""
    yield from reported(
        request,
        "what fails",
        "of whom",
        "how often",
        "heard once",
        "more often",
        "not at all",
        "log line",
        "the next broadcast",
    )
