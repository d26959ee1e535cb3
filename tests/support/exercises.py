"""The exercises of a notebook, as a learner finds them, and solved."""

import re
from dataclasses import dataclass

import nbformat

from chatlab.notebooks import PRACTICE
from chatlab.paths import NOTEBOOKS
from tests.support.cells import tags

EXERCISE = "exercise"
"""The tag of the cell in which a learner writes; the last statement checks what is written."""

SOLUTION = re.compile(r"<summary>Solution</summary>\s*```python\n(.*?)```\s*</details>", re.DOTALL)


@dataclass
class Exercise:
    """The source of its cell, as it is and with the solution in the learner's place."""

    skeleton: str
    solution: str


def exercises(name):
    """The exercises of the notebook `name`, in order. The solution is folded in the text above the cell."""
    found, text = [], ""
    for cell in nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells:
        if cell.cell_type == "markdown":
            text = cell.source
        elif EXERCISE in tags(cell):
            assert PRACTICE in tags(cell), cell.source
            (solution,) = SOLUTION.findall(text)
            check = cell.source.rstrip().splitlines()[-1]
            assert check.startswith("exercises."), f"This exercise of {name} does not end with its check: {check}"
            found.append(Exercise(cell.source, f"{solution}\n{check}"))
    return found
