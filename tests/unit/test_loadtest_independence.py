"""The load test is for any WebSocket server: it knows nothing of the lab that it measures here."""

import ast

import pytest

from chatlab.paths import ROOT

OTHERS = {"benchmarks", "chatlab", "lambdas", "tests"}
MODULES = sorted((ROOT / "loadtest").rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.relative_to(ROOT)}")
def test_a_module_imports_nothing_of_the_lab(path):
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module)
    assert not OTHERS & {name.partition(".")[0] for name in imported}


def test_no_module_behaves_otherwise_for_a_test():
    assert [path.name for path in MODULES if "_TEST_" in path.read_text()] == []
