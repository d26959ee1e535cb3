"""The book has all that there is to read."""

import fnmatch
import runpy
import tomllib

from packaging.requirements import Requirement

from chatlab.paths import NOTEBOOKS, ROOT

BOOK = runpy.run_path(str(ROOT / "docs" / "conf.py"))
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *NOTEBOOKS.glob("*.ipynb")]
LOCK = (ROOT / "docs" / "requirements.txt").read_text()


def test_each_notebook_and_document_is_in_the_book_and_in_its_contents():
    names = [f"{page.relative_to(ROOT)}" for page in PAGES]
    assert [name for name in names if not any(fnmatch.fnmatch(name, each) for each in BOOK["include_patterns"])] == []
    contents = [BOOK["root_doc"], *(page for pages in BOOK["PAGES"].values() for page in pages)]
    without_suffix = [name.rpartition(".")[0] for name in names]
    assert [name for name in without_suffix if not any(fnmatch.fnmatch(name, each) for each in contents)] == []


def test_the_book_executes_nothing_and_asks_no_server_for_scripts():
    assert BOOK["nb_execution_mode"] == "off"
    assert BOOK["nb_ipywidgets_js"] == {}


def test_the_books_packages_are_locked_apart_from_the_labs():
    """Who does not build the book does not install what builds it; where both need a package, it is the same one."""
    book = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["book"]
    own, labs = (
        dict(line.split(" ")[0].split("==") for line in text.splitlines() if "==" in line and not line.startswith(" "))
        for text in (LOCK, (ROOT / "requirements.txt").read_text())
    )
    names = {Requirement(line).name for line in book}
    assert names <= own.keys() and not names & labs.keys()
    assert [name for name in own.keys() & labs.keys() if own[name] != labs[name]] == []
