"""What notebooks 06 to 08 claim is computed: a figure in their text is a constant, and no result of a run."""

import re

import nbformat
import pytest

from chatlab.paths import NOTEBOOKS

SOURCES = {
    "06_load_test": {
        "1,000": "most accounts' concurrency: docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html",
        "10": "a new account's concurrency: the same page",
        "95": "intervals.CONFIDENCE",
        "99": "p99, by its name",
        "200": "an example of a promise",
        "0": "the first copy's number",
    },
    "07_faster": {
        "15": "minutes to read",
        "200": "the status of a post that is delivered",
        "429": "the status of a throttle",
        "0.8": "cost.POSTS_SHARE",
        "20,000": "posts a second of one invocation: python -m benchmarks.limit, docs/fanout.md",
        "29": "seconds: API Gateway's integration time-out",
        "18": "seconds: lambda_broadcast.HAND_OVER_S",
    },
    "08_how_many": {
        "1,000": "the burst of $connect and $disconnect that notebook 04 sets",
        "50": "milliseconds, of a guess",
        "95": "intervals.CONFIDENCE",
        "15": "minutes that Lambda lets a function run: the page of its quotas",
        "10,000": "the room that the README promises: tests/chatlab/test_scaling.py",
        "5": "KB, the steps in which IoT Core and AppSync meter: cost.IOT_STEP_BYTES, cost.EVENT_BYTES",
        "32": "KB, the steps in which API Gateway meters: cost.MESSAGE_BYTES",
        "2026": "when the prices were read: cost.PRICES",
        "30": "days, of an exercise",
        "500": "limits.DEFAULT_CONNECTS_PER_S",
        "20": "loadtest.storm.POLICIES, from AWS's SDKs",
        "8": "the page's BACKOFF_CAP_MS: tests/loadtest/test_storm.py",
    },
}
"""The figures that may stand in a notebook's text, since no measurement changes them, and where they come from."""

NOT_A_FIGURE = re.compile(
    r"```.*?```|`[^`]*`|\]\([^)]*\)|\*\*\d\. |[Nn]otebooks? \d\d|\[?\d\d_\w+|^#+ .*?$|\bp\d\d\b",
    re.DOTALL | re.MULTILINE,
)
"""Code, links, the numbers of exercises and of notebooks, and names of quantiles."""


@pytest.mark.parametrize("name", SOURCES)
def test_a_figure_in_the_text_is_a_constant_whose_source_is_known(name):
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    prose = [NOT_A_FIGURE.sub(" ", cell.source) for cell in notebook.cells if cell.cell_type == "markdown"]
    found = {number for text in prose for number in re.findall(r"(?<!\w)\d[\d,.]*\d|(?<!\w)\d", text)}
    assert found == SOURCES[name].keys()
