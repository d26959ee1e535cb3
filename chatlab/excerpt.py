"""A part of a file of this lab, shown in a notebook as code."""

import ast
import textwrap

from IPython.display import Code

from chatlab.paths import ROOT


def excerpt(path: str, *names: str) -> Code:
    """Functions and classes of a Python file, in the order of `names`, as the file has them.

    Args:
        path: from the lab's folder, such as "loadtest/locustfile.py".
        names: such as "ChatUser", or "EventLoop._answered" for a method.

    Raises:
        KeyError: if the file has none of that name.
    """
    source = (ROOT / path).read_text()
    found = dict(_definitions(ast.parse(source)))
    parts = [textwrap.dedent(ast.get_source_segment(source, found[name], padded=True) or "") for name in names]
    return Code("\n\n".join([f"# {path}", *parts]), language="python")


def _definitions(tree: ast.AST, prefix: str = "") -> list[tuple[str, ast.AST]]:
    """All functions and classes, by their names."""
    found: list[tuple[str, ast.AST]] = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found += [(f"{prefix}{node.name}", node), *_definitions(node, f"{prefix}{node.name}.")]
    return found
