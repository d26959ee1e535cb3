"""Notebooks that are made up, and the lab's command run on them: `python -m tests.support.made_up FOLDER run`.

What a command does around its notebooks (progress, a failing cell, Ctrl-C, the exit status, the summary) is the same
for those that take a second. The real ones are run by tests/notebooks/test_run.py.
"""

import json
import runpy
import sys
from pathlib import Path

START = """
from chatlab import Lab
lab = Lab.choose(TARGET, NAME, hours=HOURS)
lab.client("logs").create_log_group(logGroupName=lab.log_groups["connect"], tags=lab.tags);
"""
"""In place of notebook 00: a lab that has something in it."""
REMOVE = """
from chatlab import Lab
from chatlab.errors import ignore_missing
lab = Lab.find(TARGET, NAME)
with ignore_missing():
    lab.client("logs").delete_log_group(logGroupName=lab.log_groups["connect"])
lab.close()
"""
"""In place of notebook 99."""


def write(folder, **sources):
    """Notebooks into `folder`, which is returned: a lab's first and last, and between them these, a cell each.

    That of 07_faster deploys something.
    """
    folder.mkdir()
    for name, source in {"00_start": START, **sources, "99_teardown": REMOVE}.items():
        tags = ["deploy"] if name == "07_faster" else []
        cells = [
            {"cell_type": "markdown", "id": "heading", "metadata": {}, "source": "## The cell"},
            {
                "cell_type": "code", "id": "cell", "metadata": {"tags": tags}, "source": source,
                "execution_count": None, "outputs": [],
            },
        ]  # fmt: skip
        parameters = cells[1] | {"id": "parameters", "source": "TARGET = NAME = HOURS = None"}
        cells.insert(0, parameters | {"metadata": {"tags": ["parameters"]}})
        notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        (folder / f"{name}.ipynb").write_text(json.dumps(notebook))
    return folder


def take(folder, patch=setattr):
    """Have the commands take the notebooks in `folder` for those that a run has: the ones before 07_faster build."""
    from chatlab import notebooks

    others = (notebooks.CAPSTONE, *notebooks.OPTIONAL.values(), notebooks.TEARDOWN)
    names = sorted(path.stem for path in folder.glob("*.ipynb") if path.stem not in others)
    patch(notebooks, "NOTEBOOKS", folder)
    patch(notebooks, "WARM_UP", "pass")  # what most notebooks import, these need not
    if notebooks.FASTER in names:
        built = names.index(notebooks.FASTER)
    else:
        built = len(names)
        patch(notebooks, "FASTER", names[-1])  # of which no cell deploys anything
    patch(notebooks, "BUILD", names[:built])
    patch(notebooks, "MEASURE", names[built:])


if __name__ == "__main__":
    sys.modules["rfc3987_syntax"] = None  # as `chatlab.__main__` has it, which comes too late for this
    folder = Path(sys.argv.pop(1))
    take(folder)
    runpy.run_module("chatlab", run_name="__main__")
