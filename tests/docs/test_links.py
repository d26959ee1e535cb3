"""What pages and notebooks name exists: headings, files, modules, make's targets. No other site is asked."""

import re
from functools import cache
from importlib.util import find_spec
from urllib.parse import unquote

import mistune
import nbformat
import pytest
from bs4 import BeautifulSoup

from chatlab.cli import COMMANDS
from chatlab.paths import NOTEBOOKS, ROOT

DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
FILE = (
    r"(?<![\w/.])((?:benchmarks|chatlab|docs|frontend|lambdas|loadtest|notebooks|tests)/[\w./-]*(?:\.\w+|/))(?![\w*])"
)


@cache
def parsed(page):
    text = page.read_text()
    if page.suffix == ".ipynb":
        cells = nbformat.reads(text, as_version=4).cells
        text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return BeautifulSoup(mistune.html(text), "html.parser")


def anchors(page):
    """The headings' ids, as JupyterLab makes them in a notebook and a code-hosting page in a document."""
    headings = [heading.get_text() for heading in parsed(page).find_all(re.compile(r"h[1-6]"))]
    if page.suffix == ".ipynb":
        return {heading.replace(" ", "-") for heading in headings}
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def leads_somewhere(page, link):
    path, _, anchor = unquote(link).partition("#")
    target = (page.parent / path).resolve() if path else page
    return target.exists() and ROOT in [target, *target.parents] and (not anchor or anchor in anchors(target))


@pytest.mark.parametrize("page", [*DOCUMENTS, *NOTEBOOKS.glob("*.ipynb")], ids=lambda page: page.name)
def test_every_link_within_the_lab_leads_somewhere(page):
    links = [element.get("href") or element.get("src") for element in parsed(page).find_all(["a", "img"])]
    assert [link for link in links if not re.match(r"[a-z]+:", link) and not leads_somewhere(page, link)] == []


@pytest.mark.parametrize("page", [page for page in DOCUMENTS if page.stem != "CHANGELOG"], ids=lambda page: page.name)
def test_every_file_module_and_command_that_a_document_names_exists(page):
    code = "\n".join(element.get_text() for element in parsed(page).find_all("code"))
    makefile = (ROOT / "Makefile").read_text()
    assert [file for file in re.findall(FILE, code) if not (ROOT / file).exists()] == []
    modules = re.findall(r"python -m ((?:benchmarks|chatlab|loadtest)[\w.]*)", code)
    modules += re.findall(r"(?<![\w/])((?:benchmarks|chatlab|loadtest)\.[a-z_]+)", code)
    assert [module for module in modules if not find_spec(module)] == []
    commands = re.findall(r"python -m chatlab[ .]([a-z_]+)", code)
    assert [command for command in commands if command not in COMMANDS] == []
    targets = re.findall(r"^ *make ([a-z][a-z-]*)", code, re.MULTILINE)
    assert [target for target in targets if not re.search(rf"^([a-z-]+ )*{target}\b.*:", makefile, re.MULTILINE)] == []
