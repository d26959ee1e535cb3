"""However a load test fails, it ends in the time that it may take, says why, and has written what it had measured.

`python -m pytest tests/loadtest/failures` prints the table of docs/reliability.md.
"""

import pandas as pd
import pytest

from loadtest.calibration import reference_server
from tests.support.failures import LOCUST_S, Failure, longest_s


@pytest.fixture
def failure(start, tmp_path, request, report):
    with reference_server.run() as server:
        one = Failure(start, server, tmp_path)
        yield one
    folder = getattr(one, "elsewhere", one.folder)
    tables = folder / "deliveries.parquet"
    if not hasattr(one, "seconds"):
        return  # it has failed, and is told by itself
    on_disk = len(pd.read_parquet(tables)) if tables.is_file() else 0
    said = "; ".join(one.test.errors[-1:]).replace(str(tmp_path), "…")
    name = request.node.callspec.id if hasattr(request.node, "callspec") else request.node.name.removeprefix("test_")
    ended, at_most = f"{one.seconds:.1f} s", f"{longest_s() + LOCUST_S:.0f} s"
    report({
        "what fails": name.replace("_", " "), "ends after": ended, "of at most": at_most, "deliveries on disk": on_disk,
        "status and sentence": f"{one.test.status}: {said}",
    })  # fmt: skip
