"""`python -m chatlab compare RUN RUN`: did it get faster, or is it noise?"""

from pathlib import Path

from chatlab.cli.arguments import Options
from chatlab.errors import LabError
from chatlab.paths import display_path
from loadtest import comparison, results
from loadtest.results import Result


def compare_runs(options: Options) -> int:
    """Compare the load tests of two runs, and print what differs; the exit status."""
    first, second = options.runs
    try:
        compared = comparison.compare(_load(first), _load(second))
    except (OSError, ValueError) as error:
        raise LabError(str(error)) from error
    print(f"First: {display_path(first)}\nSecond: {display_path(second)}\n\n{compared}")
    return 0


def _load(folder: Path) -> Result:
    """The load test's results in the folder of a run, or a folder of results itself. Raises LabError for others."""
    within = folder / "load_test"
    try:
        return results.load(within if within.is_dir() else folder)
    except (ValueError, KeyError) as error:
        raise LabError(f"The results in {display_path(folder)} can't be read: {error}") from error
