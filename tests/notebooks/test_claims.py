"""What notebooks 06 and 07 claim is computed, at whatever size they are run, and shown as a person would write it."""

import json
import re

import nbformat
import pytest

from chatlab.notebooks import BUILD, MEASURE, execute
from chatlab.paths import NOTEBOOKS
from loadtest import results
from tests.support.cells import run_cells
from tests.support.labs import lab_in

SOURCES = {
    "06_load_test": {
        "1,000": "most accounts' concurrency: docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html",
        "10": "a new account's concurrency: the same page",
        "95": "intervals.CONFIDENCE",
        "2.5": "half of what an interval leaves out",
        "99": "p99, by its name",
        "200": "an example of a promise",
        "0": "the first copy's number",
    },
    "07_scaling": {
        "1,000": "the burst of $connect and $disconnect that notebook 04 sets, and the room to guess at",
        "95": "intervals.CONFIDENCE",
        "429": "the status of a throttle",
        "15": "minutes that Lambda lets a function run: the page of its quotas",
        "100,000": "the room to think about, at the sliders",
        "5": "KB, the steps in which IoT Core and AppSync meter: cost.ALTERNATIVES",
        "32": "KB, the steps in which API Gateway meters: cost.MESSAGE_BYTES",
        "2026": "when the prices were read: cost.PRICES",
        "30": "days, of an exercise",
    },
}
"""The figures that may stand in a notebook's text, since no measurement changes them, and where they come from."""

NOT_A_FIGURE = re.compile(
    r"```.*?```|`[^`]*`|\]\([^)]*\)|\*\*\d\. |[Nn]otebooks? \d\d|\[?\d\d_\w+|^#+ .*?$|\bp\d\d\b",
    re.DOTALL | re.MULTILINE,
)
"""Code, links, the numbers of exercises and of notebooks, and names of quantiles."""

AS_NO_PERSON_WRITES = re.compile(r"\d[eE][-+]\d|\bNaN\b|\bNaT\b|\bnan\b|<NA>")


def texts(notebook):
    """All that the notebook's cells show as text or as a table."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            text = output.get("text") or data.get("text/html") or data.get("text/plain") or ""
            yield re.sub(r"base64,[\w+/=]+", "", text)  # of a picture


@pytest.mark.parametrize("name", MEASURE)
def test_a_figure_in_the_text_is_a_constant_whose_source_is_known(name):
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    prose = [NOT_A_FIGURE.sub(" ", cell.source) for cell in notebook.cells if cell.cell_type == "markdown"]
    found = {number for text in prose for number in re.findall(r"(?<!\w)\d[\d,.]*\d|(?<!\w)\d", text)}
    assert found == SOURCES[name].keys()


@pytest.mark.parametrize("name", MEASURE)
def test_what_is_committed_shows_no_number_as_no_person_writes_it(name):
    committed = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    assert not [found for text in texts(committed) if (found := AS_NO_PERSON_WRITES.search(text))]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A lab that is built, but for the page."""
    with lab_in(tmp_path_factory.mktemp("built")) as lab:
        for name in BUILD[:-1]:
            run_cells(name)
        yield lab


def run(name, folder, monkeypatch, **parameters):
    """Run a notebook in a kernel; all that it shows, and the folder of its run."""
    monkeypatch.setenv("CHATLAB_RUN", str(folder / "run"))
    outcome = execute(name, folder / "out.ipynb", parameters)
    assert outcome.ok, outcome.reason
    return "\n".join(texts(nbformat.read(folder / "out.ipynb", as_version=4))), folder / "run"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("connections", "broadcasts"),
    [(60, 8), pytest.param(200, 20, marks=pytest.mark.long), pytest.param(400, 40, marks=pytest.mark.long)],
)
def test_the_load_test_says_what_it_measured_whatever_its_size(built, tmp_path, monkeypatch, connections, broadcasts):
    shown, folder = run("06_load_test", tmp_path, monkeypatch, CONNECTIONS=connections, BROADCASTS=broadcasts)
    assert not AS_NO_PERSON_WRITES.search(shown)
    result = results.load(folder / "load_test")
    assert result.summary["delivered"] == connections * broadcasts
    assert f"{connections * broadcasts:,} deliveries, none missing and none twice." in shown
    assert f"Of {connections * (broadcasts + 2):,} deliveries {2 * connections:,} are the warm-up's." in shown
    (samples,) = (check for check in result.summary["verdict"]["checks"] if check["check"] == "samples")
    assert samples["ok"], samples
    for name, ends in result.summary["interval_95"]["latency_ms"].items():
        interval = f"{ends[0]:,.1f} to {ends[1]:,.1f} ms" if None not in ends else "broadcasts would be enough"
        assert interval in shown, name
    assert "You have not guessed" in shown


@pytest.mark.slow
@pytest.mark.long
def test_the_comparison_says_what_it_measured(built, tmp_path, monkeypatch):
    shown, folder = run("07_scaling", tmp_path, monkeypatch)
    assert not AS_NO_PERSON_WRITES.search(shown)
    summaries = [json.loads(path.read_text()) for path in folder.glob("scaling/*/summary.json")]
    assert f"{sum(summary['delivered'] for summary in summaries):,} deliveries, none missing and none twice." in shown
