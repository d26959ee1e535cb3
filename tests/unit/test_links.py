"""Each link from a page or notebook to another, or to a heading, leads somewhere. No other site is asked."""

import re
from functools import cache
from urllib.parse import unquote

import mistune
import nbformat
import pytest
from bs4 import BeautifulSoup

from chatlab.paths import NOTEBOOKS, ROOT

PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *NOTEBOOKS.glob("*.ipynb")]


@cache
def parsed(page):
    text = page.read_text()
    if page.suffix == ".ipynb":
        cells = nbformat.reads(text, as_version=4).cells
        text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return BeautifulSoup(mistune.html(text), "html.parser")


def anchors(page):
    """As JupyterLab names the headings of a notebook, and a code-hosting page those of a document."""
    headings = [heading.get_text() for heading in parsed(page).find_all(re.compile(r"h[1-6]"))]
    if page.suffix == ".ipynb":
        return {heading.replace(" ", "-") for heading in headings}
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def leads_somewhere(page, link):
    path, _, anchor = unquote(link).partition("#")
    target = (page.parent / path).resolve() if path else page
    return target.exists() and ROOT in [target, *target.parents] and (not anchor or anchor in anchors(target))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_within_the_lab_leads_somewhere(page):
    links = [element.get("href") or element.get("src") for element in parsed(page).find_all(["a", "img"])]
    assert [link for link in links if not re.match(r"[a-z]+:", link) and not leads_somewhere(page, link)] == []


def test_a_link_that_leads_nowhere_is_found():
    assert leads_somewhere(ROOT / "README.md", "docs/aws.md#how-this-was-checked")
    assert not leads_somewhere(ROOT / "README.md", "docs/aws.md#how-that-was-checked")
    assert not leads_somewhere(ROOT / "README.md", "docs/azure.md")
