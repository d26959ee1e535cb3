"""Showing code in a notebook: a whole file, or the functions of it that matter."""

import ast
import textwrap
from pathlib import Path
from typing import Protocol, cast

from IPython.display import Code

from chatlab.paths import ROOT

FONT = "font-family: var(--jp-code-font-family, monospace); font-size: var(--jp-code-font-size, 13px); line-height: 1.3"


class _Block(Protocol):
    """A class, or a module: what has statements."""

    body: list[ast.stmt]


class SourceCode(Code):
    """Code that looks like that of a cell, wherever it is shown."""

    def _repr_html_(self) -> str:
        shown: str = super()._repr_html_()  # type: ignore[no-untyped-call]  # IPython has no types for it
        return shown.replace("<pre>", f'<pre style="{FONT}">', 1)

    def _repr_latex_(self) -> None:
        """None: nobody prints it, and it would be in the notebook's file once more."""


def code_of(path: Path, *names: str) -> SourceCode:
    """The file, highlighted; with names, only these functions, classes and methods ("Class.method") of it.

    Raises KeyError if the file has no such name.
    """
    source = path.read_text(encoding="utf-8")
    if names:
        source = "\n\n\n".join(_segment(source, name) for name in names)
    return SourceCode(source, language="python")  # type: ignore[no-untyped-call]  # the same


def excerpt(path: str, *names: str) -> SourceCode:
    """These functions, classes and methods of one of the lab's files, below its name; `path` is from the lab's folder.

    Raises KeyError if the file has no such name.
    """
    return SourceCode(f"# {path}\n\n{code_of(ROOT / path, *names).data}", language="python")  # type: ignore[no-untyped-call]  # the same


def _segment(source: str, name: str) -> str:
    """The source of one function, class or method, with what stands in front of it taken off its lines."""
    node: ast.AST = ast.parse(source)
    for part in name.split("."):
        within = {getattr(child, "name", ""): child for child in cast(_Block, node).body}
        node = within[part]
    return textwrap.dedent(ast.get_source_segment(source, node, padded=True) or "")
