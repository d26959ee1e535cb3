"""A notebook's code cells, run in the test's own process: it is quicker than a kernel, and can stop after each cell.

tests/notebooks/test_run.py runs them in kernels.
"""

import ast
import inspect
import re
from contextlib import redirect_stdout
from copy import deepcopy
from functools import cache
from io import StringIO
from pathlib import Path

import nbformat

from chatlab.notebooks import PRACTICE, inject
from chatlab.paths import NOTEBOOKS
from tests.support.asynchronous import run_async


def tags(cell):
    return cell.metadata.get("tags", [])


def read(name, **parameters):
    """The notebook `name` without its outputs, with its `parameters` set."""
    return inject(deepcopy(_read(name)), parameters)


@cache
def _read(name):
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    return notebook


def cells(name, practice=False, only="", **parameters):
    """The sources of the code cells of the notebook `name`, with its `parameters` set.

    Those that break something, or are exercises, are among them with `practice`. With `only`, it is the cells with this
    tag alone.
    """
    notebook = read(name, **parameters)
    code = (cell for cell in notebook.cells if cell.cell_type == "code" and (not only or only in tags(cell)))
    return [cell.source for cell in code if practice or PRACTICE not in tags(cell)]


def creating(name, **parameters):
    """The numbers of the code cells that create what the notebook is about, with its `parameters` set: those before it
    verifies, and of the later ones those that are tagged `create`."""
    notebook = read(name, **parameters)
    found, number, verifies = [], 0, False
    for cell in notebook.cells:
        verifies |= cell.source.startswith("## Verify")
        if cell.cell_type == "code" and PRACTICE not in tags(cell):
            if not verifies or "create" in tags(cell):
                found.append(number)
            number += 1
    return found


# What builds the page, and what looks at it with a browser, is of no matter where the cloud is: the text by which the
# cell is known, and what is run instead.
INSTEAD = {
    "BUILD_PATH": """
build = page.folder(lab)
build.mkdir(parents=True, exist_ok=True)
(build / "index.html").write_text("<!doctype html>")
files = {"index.html": build / "index.html"}
""",
    "browser.chat(": "",
}


def run_cells(name, stop_after=None, practice=False, namespace=None, only="", instead=INSTEAD, **parameters):
    """Run the code cells of a notebook, the first `stop_after` of them, or those that `creating` returned; what they
    printed, and showed as text.

    The page is a stand-in, and no browser opens it; with `instead={}` both are real. What a cell raises is raised. The
    names that the cells assign are in `namespace`, if one is given.
    """
    namespace = {} if namespace is None else namespace
    namespace["__name__"] = "__main__"
    sources = cells(name, practice, only, **parameters)
    chosen = [sources[number] for number in stop_after] if isinstance(stop_after, list) else sources[:stop_after]
    with redirect_stdout(StringIO()) as said:
        for source in chosen:
            source = next((stand_in for text, stand_in in instead.items() if text in source), source)
            shown = run_cell(source, namespace)
            if shown is not None:
                print(shown)
    return said.getvalue()


WRITEFILE = re.compile(r'%%writefile "(.+)"\n')
"""IPython's magic for a cell that is written into a file; names of the notebook stand in braces."""


def run_cell(source, namespace):
    """Run the source of one cell; the value of its last expression, which a notebook shows, or None."""
    if magic := WRITEFILE.match(source):
        Path(magic[1].format_map(namespace)).write_text(source[magic.end() :])
        return None
    shown = []
    namespace["show"] = shown.append
    tree = compile(source, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST)
    if tree.body and isinstance(last := tree.body[-1], ast.Expr):
        call = ast.Call(ast.Name("show", ast.Load()), [last.value], [])
        last.value = ast.fix_missing_locations(ast.copy_location(call, last.value))
    code = compile(tree, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if inspect.iscoroutine(coroutine := eval(code, namespace)):
        run_async(coroutine)
    return shown[0] if shown else None


def written(name):
    """The files that cells of the notebook `name` write, as text by name."""
    found = {}
    for source in cells(name):
        if magic := WRITEFILE.match(source):
            found[Path(magic[1]).name] = source[magic.end() :]
    return found


AS_NO_PERSON_WRITES = re.compile(r"\d[eE][-+]\d|\bNaN\b|\bNaT\b|\bnan\b|<NA>")


def shown(path):
    """All that the cells of an executed notebook show as text or as a table."""
    texts = []
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            text = output.get("text") or data.get("text/html") or data.get("text/plain") or ""
            texts.append(re.sub(r"base64,[\w+/=]+", "", text))  # of a picture
    return "\n".join(texts)
