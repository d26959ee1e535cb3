"""A notebook's code cells, run in the test's own process: quicker than a kernel, and one can stop after each.

Whether they run in a kernel, too, and what they show, is tested elsewhere.
"""

import ast
import inspect
from contextlib import redirect_stdout
from io import StringIO

import nbformat

from chatlab.notebooks import inject
from chatlab.paths import NOTEBOOKS
from tests.support.asynchronous import run_async


def cells(name, **parameters):
    """The sources of the code cells of the notebook `name`, with its `parameters` set."""
    notebook = inject(nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4), parameters)
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def creating(name):
    """How many of the notebook's code cells there are before it verifies: all that is needed of it by the next one."""
    number = 0
    for cell in nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells:
        if cell.source.startswith("## Verify"):
            break
        number += cell.cell_type == "code"
    return number


# What builds the page, and what looks at it with a browser, is of no matter where the cloud is: the text by which the
# cell is known, and what is run instead.
INSTEAD = {
    "BUILD_PATH": """
build = page.folder(lab)
build.mkdir(parents=True, exist_ok=True)
(build / "index.html").write_text("<!doctype html>")
files = {"index.html": build / "index.html"}
""",
    "playwright": "",
    "beside(pictures)": "",
}


def run_cells(name, stop_after=None, **parameters):
    """Run the code cells of a notebook, or the first `stop_after` of them; what they printed, and showed as text.

    The page is a stand-in, and no browser opens it. What a cell raises is raised.
    """
    namespace = {"__name__": "__main__", "show": lambda value: None if value is None else print(value)}
    with redirect_stdout(StringIO()) as said:
        for source in cells(name, **parameters)[:stop_after]:
            source = next((stand_in for text, stand_in in INSTEAD.items() if text in source), source)
            tree = compile(source, name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST)
            if tree.body and isinstance(last := tree.body[-1], ast.Expr):  # whose value a notebook shows
                call = ast.Call(ast.Name("show", ast.Load()), [last.value], [])
                last.value = ast.fix_missing_locations(ast.copy_location(call, last.value))
            code = compile(tree, name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            if inspect.iscoroutine(coroutine := eval(code, namespace)):
                run_async(coroutine)
    return said.getvalue()
