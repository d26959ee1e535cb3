"""The notebooks' exercises, and what is told to those who answer them."""

import ast
import re
import tomllib
from contextlib import suppress
from dataclasses import dataclass

import pytest

from chatlab.exercises import chatting
from chatlab.paths import ROOT
from tests.support.cells import PRACTICE, read, run_cell, tags

ANSWERS = tomllib.loads((ROOT / "tests" / "notebooks" / "answers.toml").read_text())
"""By notebook, by the name of the check, by what is told: right and wrong answers."""

EXERCISE = "exercise"
"""The tag of the cell in which a learner writes; the last statement checks what is written."""

SOLUTION = re.compile(r"<summary>Solution</summary>\s*```python\n(.*?)```\s*</details>", re.DOTALL)
CHECK = re.compile(r"exercises\.\w+\.check_(\w+)\(lab(?:, (\w+))?\)")


@dataclass
class Exercise:
    """The source of its cell, as it is and with the solution in the learner's place."""

    skeleton: str
    solution: str

    @property
    def check(self):
        return self.skeleton.rstrip().splitlines()[-1]

    @property
    def name(self):
        """The check's name."""
        return CHECK.fullmatch(self.check)[1]

    def answered(self, answer):
        """The source of its cell with an answer from `ANSWERS` in the learner's place."""
        if isinstance(answer, dict):
            source = next(each for each in (self.solution, self.skeleton) if all(old in each for old in answer))
            for old, new in answer.items():
                source = source.replace(old, new)
            return source
        value = CHECK.fullmatch(self.check)[2]
        with suppress(SyntaxError):
            ast.parse(answer.strip(), mode="eval")
            answer = f"{value} = {answer.strip()}" if value else answer
        return f"{answer}\n{self.check}"


def exercises(name):
    """The exercises of the notebook `name`, in order. The solution is folded in the text above the cell."""
    found, text = [], ""
    for cell in read(name).cells:
        if cell.cell_type == "markdown":
            text = cell.source
        elif EXERCISE in tags(cell):
            assert PRACTICE in tags(cell), cell.source
            (solution,) = SOLUTION.findall(text)
            exercise = Exercise(cell.source, solution)
            assert CHECK.fullmatch(exercise.check), f"An exercise of {name} does not end with its check."
            exercise.solution += f"\n{exercise.check}"
            found.append(exercise)
    return found


def judge(exercise, answers, names):
    """Check the skeleton, the solution and each of the `answers` to the exercise in a notebook with these `names`."""
    cells = [("Not yet: ", exercise.skeleton), ("Right: ", exercise.solution)]
    for told, each in answers.items():
        cells += [(told, exercise.answered(answer)) for answer in (each if isinstance(each, list) else [each])]
    are_right, mistakes = [told.startswith("Right") for told, _ in cells], []
    assert are_right.count(True) >= 3 and are_right.count(False) >= 4
    for (told, source), is_right in zip(cells, are_right, strict=True):
        with pytest.MonkeyPatch.context() as patch:
            if not is_right:
                patch.setattr(chatting, "PATIENCE_S", 4)  # for what never comes
            run_cell(exercise.skeleton.removesuffix(exercise.check), own := dict(names))  # an answer may use its names
            answer = run_cell(source, own)
        is_told = re.search(".*".join(map(re.escape, told.split("…"))), str(answer))
        if answer.is_right != is_right or not is_told or "\n" in answer.message:
            mistakes.append(f"{source}\n{answer}\nand not: {told}")
    assert not mistakes, "\n\n".join(mistakes)
