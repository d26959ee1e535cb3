"""`make setup`: an environment that is broken is made anew, and one that is whole is left alone."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from chatlab import install
from chatlab.paths import FRONTEND, ROOT, RUNS

PIP = "-m pip install -qq --disable-pip-version-check".split()
UV = "pip install --quiet --python python --compile-bytecode --require-hashes --requirement requirements.txt".split()


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A folder with an environment as `make setup` leaves it, without packages; and the commands that are run in it."""
    commands = []
    run = install.run

    def without_pip(command, **options):
        words = [Path(word).name for word in command]
        commands.append(words if words[0] == "uv" else words[1:])
        if command[1:3] == ["-m", "venv"]:
            command = [*command, "--without-pip"]
        if command[1:3] == ["-m", "pip"]:
            (site,) = Path(command[0]).parents[1].glob("lib/python*/site-packages")
            (site / "pip.py").touch()
            return ""
        if Path(command[0]).name == "uv":
            return ""
        return run(command, **options)

    monkeypatch.setattr(install, "run", without_pip)
    folder = tmp_path / "a folder"
    folder.mkdir()
    (folder / "requirements.txt").write_text("nothing")
    stand_in(monkeypatch, folder)
    install.install_packages()
    assert install.packages_are_complete()
    commands.clear()
    return folder, commands


def stand_in(monkeypatch, folder):
    monkeypatch.setattr(install, "ROOT", folder)
    monkeypatch.setattr(install, "VENV", folder / ".venv")
    monkeypatch.setattr(install, "PINNED", [folder / "requirements.txt"])


def made_anew(commands):
    return any(words[:2] == ["-m", "venv"] for words in commands)


TROUBLES = {
    "no Python": lambda folder: (folder / ".venv" / "bin" / "python").unlink(),
    "another Python": lambda folder: (folder / ".venv" / "installed").write_text("3 10 0"),
    "an installation that was killed": lambda folder: (folder / ".venv" / "installed").unlink(),
    "no pip": lambda folder: next(folder.glob(".venv/lib/python*/site-packages/pip.py")).unlink(),
    "another folder": lambda folder: folder.rename(folder.parent / "elsewhere"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_what_is_broken_is_made_anew(lab, monkeypatch, trouble):
    folder, commands = lab
    TROUBLES[trouble](folder)
    stand_in(monkeypatch, folder if folder.exists() else folder.parent / "elsewhere")
    assert not install.packages_are_complete()
    install.install_packages()
    assert made_anew(commands)
    assert install.packages_are_complete()


def test_an_error_while_it_installs_is_not_taken_for_a_folder_that_cannot_be_written_to(lab, monkeypatch):
    def fail():
        raise OSError(2, "No such file", "npm")

    monkeypatch.setattr(install, "page_is_complete", lambda: False)
    monkeypatch.setattr(install, "install_page", fail)
    sentence = "The lab can't be installed: No such file: npm. Then give the same command again."
    with pytest.raises(SystemExit, match=sentence):
        install.main()


def test_newer_packages_go_into_the_one_that_is_there(lab):
    folder, commands = lab
    (folder / "requirements.txt").write_text("something")
    assert not install.packages_are_complete()
    install.install_packages()
    assert not made_anew(commands)
    assert ["uv", *UV] in commands
    assert any(words[:-1] == [*PIP, "--no-deps", "--no-build-isolation", "--editable"] for words in commands)


def test_uv_is_installed_by_its_own_hash(lab, monkeypatch):
    folder, _ = lab
    (folder / "requirements.txt").write_text((ROOT / "requirements.txt").read_text())
    asked = []
    monkeypatch.setattr(install, "run", lambda command: asked.append(Path(command[-1]).read_text()))
    install.install_uv()
    (of_uv,) = asked
    assert re.fullmatch(r"uv==[\d.]+ \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+", of_uv)
    assert of_uv in (ROOT / "requirements.txt").read_text()


def test_where_uv_finds_no_index_pip_looks_for_one(lab, monkeypatch):
    """pip reads a pip.conf, and uv does not."""
    folder, commands = lab
    run = install.run

    def uv_finds_nothing(command, **options):
        run(command, **options)
        if Path(command[0]).name == "uv":
            raise subprocess.CalledProcessError(1, command, "error: Failed to fetch")
        return ""

    monkeypatch.setattr(install, "run", uv_finds_nothing)
    (folder / "requirements.txt").write_text("something")
    install.install_packages()
    assert [*PIP, "--require-hashes", "--requirement", "requirements.txt"] in commands
    assert install.packages_are_complete()


SAID = """\
WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by '{}': /simple/anyio/
ERROR: Could not find a version that satisfies the requirement anyio==4.16.0 (from versions: none)
ERROR: No matching distribution found for anyio==4.16.0
"""
NEW = "NewConnectionError('<pip._vendor.urllib3.connection.Connection object at 0x7f>: Failed to establish a new {}')"
UNRESOLVED = NEW.format("connection: [Errno -3] Temporary failure in name resolution")
PROXY = f"ProxyError('Cannot connect to proxy.', {NEW.format('connection: [Errno 111] Connection refused')})"
FULL = "Could not install packages due to an OSError: [Errno 28] No space left on device"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (SAID.format(UNRESOLVED), "the index can't be reached ([Errno -3] Temporary failure in name resolution). Look"),
        (SAID.format(PROXY), "the index can't be reached through your proxy ([Errno 111] Connection refused). Look"),
        (f"ERROR: {FULL}\n", f"{FULL}. Then"),
        ("Error: whatever it is", "Error: whatever it is. Then"),
    ],
    ids=["no network", "a proxy that is not there", "a full disk", "anything else"],
)
def test_why_it_failed_is_a_sentence(said, why):
    told = install.reason(said)
    assert told.startswith(why)
    assert told.endswith("Then give the same command again.")


def test_where_nothing_may_be_written_that_is_said(tmp_path, monkeypatch):
    stand_in(monkeypatch, tmp_path)
    (tmp_path / "requirements.txt").touch()
    (tmp_path / ".chatlab").write_text("in the way")
    with pytest.raises(SystemExit, match=r"can't be written to .*: clone the lab where you may write"):
        install.main()


def test_the_page_s_packages_are_complete_if_npm_came_to_its_end_with_those_that_are_pinned(tmp_path, monkeypatch):
    monkeypatch.setattr(install, "FRONTEND", tmp_path)
    for name in ("package-lock.json", "node_modules/.package-lock.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(Path(install.__file__).parent.parent / "frontend" / name, tmp_path / name)
    assert install.page_is_complete()
    pinned = tmp_path / "package-lock.json"
    pinned.write_text(pinned.read_text().replace('"version": "19.3.1"', '"version": "19.3.2"', 1))
    assert not install.page_is_complete()
    (tmp_path / "node_modules" / ".package-lock.json").unlink()
    assert not install.page_is_complete()


def test_make_setup_says_at_its_end_that_the_lab_is_ready_and_no_other_command_does(monkeypatch, capsys):
    for is_complete in ("packages_are_complete", "page_is_complete"):
        monkeypatch.setattr(install, is_complete, lambda: True)
    install.main(say_ready=True)
    assert capsys.readouterr().out == f"{install.READY}\n"
    install.main()
    assert capsys.readouterr().out == ""
    for goal, words in (("setup", "chatlab/install.py setup"), ("run", "chatlab/install.py")):
        planned = subprocess.run(["make", "--dry-run", goal], cwd=ROOT, capture_output=True, text=True).stdout
        (install_it,) = (line for line in planned.splitlines() if "install.py" in line)
        assert install_it.rstrip().endswith(words)


def test_it_needs_nothing_that_is_not_there_yet():
    """The machine's own Python runs it, which has none of the lab's packages."""
    command = [sys.executable, "-I", "-S", "-c", f"import runpy; runpy.run_path({install.__file__!r})"]
    assert subprocess.run(command, capture_output=True, text=True).stderr == ""


def test_nobody_else_may_change_what_the_lab_has_installed_or_written():
    """Git's files are left out: your umask said who may write to them when you checked them out."""
    folders = [ROOT / ".venv", ROOT / ".chatlab", FRONTEND / "node_modules", FRONTEND / "build", RUNS]
    writable = ["!", "-type", "l", "(", "-perm", "-020", "-o", "-perm", "-002", ")"]
    found = subprocess.run(["find", *filter(Path.exists, folders), *writable], capture_output=True, text=True)
    assert found.stdout == ""
