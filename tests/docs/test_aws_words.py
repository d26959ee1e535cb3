"""docs/aws-words.md has every error code and message of AWS's on which the lab's code decides, and no other."""

import ast
import re

from botocore.loaders import Loader

from chatlab.paths import NOTEBOOKS, ROOT
from tests.support.cells import cells

HEARD = re.compile(r"\bcode\b|error_code\(|'Code'|str\(error\)|self\.text|refusal\b|reasons\b|\bstatus\b")
"""What the code compares with AWS's words, in its own terms."""
WORD = re.compile(r"[A-Z]\w{3,}|[45]\d\d|(?!status )[A-Za-z]+ [A-Za-z ]{,40}")
NOT_WORDS = {"Code", "Error", "None", "TAGS", "True"}


def constants(node, named):
    """The texts and numbers in an expression, and in those that it names, which are in `named`."""
    for each in ast.walk(node):
        match each:
            case ast.Name(id=name) if name in named:
                yield from constants(named.pop(name), named)
            case ast.Call(func=ast.Attribute(value=ast.Constant(value=str(text)), attr="split")):
                yield from text.split()
            case ast.Constant():
                yield str(each.value)


def words(text, shared):
    """AWS's words in a source; `shared` are the expressions that it may import, by name."""
    tree, named = ast.parse(text), dict(shared)
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                named[name] = value
            case ast.comprehension(target=ast.Name(id=name), iter=value):
                named[name] = value
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Attribute(attr="exceptions"), attr=name) if name != "ClientError":
                yield name
            case ast.Compare() | ast.Call(func=ast.Attribute(attr="get")) if HEARD.search(ast.unparse(node)):
                yield from (word for word in constants(node, dict(named)) if WORD.fullmatch(word))


def test_the_register_has_every_word_of_aws_on_which_the_code_decides_and_where():
    """But for the emulator and the exercises, which say these words themselves."""
    files = [file for folder in ("chatlab", "lambdas", "loadtest") for file in (ROOT / folder).rglob("*.py")]
    heard = [file for file in files if not {"emulator", "exercises", "calibration"} & {*file.parts}]
    sources = {file.relative_to(ROOT).as_posix(): file.read_text() for file in heard}
    for path in NOTEBOOKS.glob("*.ipynb"):
        sources[path.stem[:2]] = "\n".join(re.sub(r"^%%.*", "", cell) for cell in cells(path.stem, practice=True))
    errors = ast.parse(sources["chatlab/errors.py"])
    shared = {node.targets[0].id: node.value for node in errors.body if isinstance(node, ast.Assign)}
    found = {word for text in sources.values() for word in words(text, shared)}
    rows = re.findall(r"^\| (`.+`) \| (.+) \| (.+) \|$", (ROOT / "docs" / "aws-words.md").read_text(), re.MULTILINE)
    registered = [word for row, _, _ in rows for word in re.findall(r"`(.+?)`", row)]
    assert found - NOT_WORDS == {*registered} and len({*registered}) == len(registered)
    for row, places, shown_by in rows:
        here = re.findall(r"`(.+?)`", row)
        assert [place for place in places.split() if not any(word in sources[place] for word in here)] == []
        assert [word for word in here if not any(word in sources[place] for place in places.split())] == []
        if shown_by == "botocore's models":
            assert {*here} <= declared("\n".join(sources.values()))


def declared(text):
    """The error codes in the models of the services whose clients the sources make."""
    services = {*re.findall(r'client\("([\w-]+)"', text)}
    models = [Loader().load_service_model(service, "service-2")["shapes"] for service in services]
    shapes = [(name, shape) for model in models for name, shape in model.items() if shape.get("exception")]
    return {code for name, shape in shapes for code in (name, shape.get("error", {}).get("code", name))}
