"""Show the lab's code in a notebook: a whole file, or the functions of it that matter."""

import ast
import textwrap
from typing import Any

from IPython.display import Code

from chatlab.paths import ROOT

FONT = "font-family: var(--jp-code-font-family, monospace); font-size: var(--jp-code-font-size, 13px); line-height: 1.3"


class SourceCode(Code):
    """Code that looks like that of a cell, wherever it is shown."""

    def _repr_html_(self) -> str:
        shown: str = super()._repr_html_()  # type: ignore[no-untyped-call]  # IPython has no types for it
        return shown.replace("<pre>", f'<pre style="{FONT}">', 1)

    def _repr_latex_(self) -> None:
        """None: nobody prints it, and the notebook's file would contain the code once more."""


def excerpt(path: str, *names: str) -> SourceCode:
    """A file of the lab, highlighted, below its name; with names, only these functions, classes and methods of it.

    The path is relative to the lab's folder, and a method's name is "Class.method". Raises KeyError if the file has no
    such name.
    """
    source = (ROOT / path).read_text(encoding="utf-8")
    if names:
        source = "\n\n\n".join(_definition(source, name) for name in names)
    return SourceCode(f"# {path}\n\n{source}", language="python")  # type: ignore[no-untyped-call]  # the same


def _definition(source: str, name: str) -> str:
    """The source of one function, class or method, with its first line not indented."""
    node: Any = ast.parse(source)
    for part in name.split("."):
        node = {getattr(child, "name", ""): child for child in node.body}[part]
    return textwrap.dedent(ast.get_source_segment(source, node, padded=True) or "")
