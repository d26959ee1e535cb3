"""The book, as `make book` builds it: notebooks with their saved outputs, and documents. Nothing is executed."""

import base64
import hashlib
import html
import json
import re
import shutil
from pathlib import Path

import mermaidx
from docutils import nodes

ROOT = Path(__file__).resolve().parent.parent

project = "WebSocket Chat Lab"
author = ""
extensions = ["myst_nb"]
root_doc = "README"
PAGES = {
    "The notebooks": ["notebooks/*"],
    "For learners": ["docs/glossary", "docs/troubleshooting", "docs/aws"],
    "For engineers": [
        "docs/architecture",
        "docs/fanout",
        "docs/loadtest",
        "docs/alternatives",
        "docs/protocol",
        "docs/frontend",
        "docs/security",
        "docs/reliability",
        "docs/rehearsal",
        "docs/aws-words",
        "docs/ministack",
        "CONTRIBUTING",
        "CHANGELOG",
    ],
}
"""What is in the book, by its readers: pages without their suffix. A page that is missing here is an error."""
include_patterns = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/*.md", "notebooks/*.ipynb"]
exclude_patterns = [".*", "frontend", "runs", "**/.ipynb_checkpoints"]

nb_execution_mode = "off"  # the outputs are those that `make notebooks` saved
nb_ipywidgets_js = {}  # no notebook has widgets, and their scripts would come from others' servers
nitpick_ignore_regex = [("myst", r"(\.\./)*\w+/?")]  # a folder: a book has no page of it
myst_heading_anchors = 4  # links to headings as a code-hosting page names them

html_theme = "sphinx_book_theme"
html_title = project
html_show_copyright = False
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system is
html_static_path = html_css_files = ["book.css"]
html_sidebars = {"**": ["search-button-field.html", "sbt-sidebar-nav.html"]}
html_theme_options = {
    "home_page_in_toc": True,
    "show_toc_level": 2,
    "use_fullscreen_button": False,
    "use_download_button": False,
}


def add_contents(app, docname, source):
    """Add the table of contents to the front page. A code-hosting page needs none."""
    if docname == root_doc:
        parts = [f"```{{toctree}}\n:hidden:\n:glob:\n:caption: {name}\n\n" + "\n".join(pages) + "\n```"
                 for name, pages in PAGES.items()]  # fmt: skip
        source[0] += "\n\n".join(["", *parts])


def remove_empty_heads(app, doctree):
    """Remove empty heads of tables: Markdown has no table without a head, and pandas puts one above its index."""
    for head in list(doctree.findall(nodes.thead)):
        if not head.astext().strip():
            head.parent.remove(head)
    for raw in list(doctree.findall(nodes.raw)):
        text = re.sub(r"<th([^>]*)>(&nbsp;|\s)*</th>", r"<td\1></td>", raw.astext())
        raw[:] = [nodes.Text(text)]


def draw_diagrams(app, doctree):
    """Draw Mermaid diagrams, as a code-hosting page does by itself, once for light and once for dark."""
    for block in list(doctree.findall(nodes.literal_block)):
        if block.get("language") == "mermaid":
            diagram = block.astext()
            names = dict(re.findall(r"participant (\w+) as (.+)", diagram))
            messages = re.findall(r"(\w+)-+>>(\w+): (.+)", diagram)
            said = "; ".join(f"{names[one]} to {names[other]}: {text}" for one, other, text in messages)
            images = ""
            for scheme, theme in {"light": "default", "dark": "dark"}.items():
                drawn = base64.b64encode(mermaidx.render(diagram, theme=theme).svg().encode()).decode()
                source = f"data:image/svg+xml;base64,{drawn}"
                images += f'<img class="only-{scheme}" alt="{html.escape(said)}" src="{source}">'
            block.replace_self(nodes.raw("", images, format="html"))


def describe_pictures(app, doctree):
    """Give a notebook's pictures the alternative text that is saved beside them."""
    path = Path(app.env.doc2path(app.env.docname))
    if path.suffix == ".ipynb":
        cells = json.loads(path.read_text())["cells"]
        texts = {
            hashlib.sha256(base64.b64decode(output["data"]["image/png"])).hexdigest(): alt
            for output in (output for cell in cells for output in cell.get("outputs", []))
            if (alt := output.get("metadata", {}).get("image/png", {}).get("alt"))
        }
        for image in doctree.findall(nodes.image):
            if text := texts.get(Path(image["uri"]).stem):  # MyST-NB names the file so
                image["alt"] = text


def copy_pictures(app, error):
    """Copy the pictures that the front page names in HTML, which Sphinx does not read."""
    if not error:
        for path in re.findall(r'src(?:set)?="([^":]+)"', (ROOT / f"{root_doc}.md").read_text()):
            target = Path(app.outdir) / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, target)


def setup(app):
    """Connect these to Sphinx's events."""
    app.connect("source-read", add_contents)
    app.connect("doctree-read", remove_empty_heads)
    app.connect("doctree-read", draw_diagrams)
    app.connect("doctree-read", describe_pictures)
    app.connect("build-finished", copy_pictures)
