"""Install what the lab needs into `.venv` and `frontend/node_modules`: `make setup`; and the book: `install.py book`.

The machine's own Python runs this file, before anything of the lab's is installed. It looks at what is installed, and
not at the age of files, since a clock may be set. If something is wrong, it exits with one sentence.
"""

import fcntl
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
FRONTEND = ROOT / "frontend"
PINNED = (ROOT / "requirements.txt", ROOT / "pyproject.toml")
BOOK = ROOT / "docs" / "requirements.txt"
AGAIN = "Then give the same command again."
READY = "The lab is ready. Next: `make lab` opens the first notebook; `make run` runs all of them and measures."


def main(with_book: bool = False, say_ready: bool = False) -> None:
    """Install what is missing; what makes the book, and a last line that all is there, only if you ask for them."""
    steps = [
        (packages_are_complete, install_packages, "The Python packages"),
        (page_is_complete, install_page, "The page's packages"),
    ]
    steps += [(book_is_complete, install_book, "What makes the book")] if with_book else []
    if not all(is_complete() for is_complete, _, _ in steps):
        with one_at_a_time():
            for is_complete, install, what in steps:
                try:
                    if not is_complete():
                        install()
                except subprocess.CalledProcessError as failed:
                    sys.exit(f"{what} can't be installed: {reason(failed.output)}")
                except OSError as error:
                    missing = f": {error.filename}" if error.filename else ""
                    sys.exit(f"The lab can't be installed: {error.strerror}{missing}. {AGAIN}")
    with suppress(OSError):
        (VENV / ".lock").chmod(0o600)  # uv lets everybody write to it
    if say_ready:
        print(READY)


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Wait for another process that installs into this folder."""
    file = ROOT / ".chatlab" / "setup.lock"
    try:
        file.parent.mkdir(exist_ok=True)
        file.touch()
    except OSError as error:
        sys.exit(f"The folder {ROOT} can't be written to ({error.strerror}): clone the lab where you may write.")
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def packages_are_complete() -> bool:
    """Whether all was installed, in this folder, and by a Python that still runs."""
    return written("installed") == [environment(), *digests(PINNED)]


def written(mark: str) -> list[str]:
    """The lines that an installation wrote into the file `mark` at its end; none if it did not get that far."""
    try:
        return (VENV / mark).read_text().splitlines()
    except OSError:
        return []


def environment() -> str | None:
    """The version and the folder of the environment's own Python; None if there is none, or no pip.

    An environment that was moved or copied does not work: its programs name the folder in which it was made.
    https://docs.python.org/3/library/venv.html#how-venvs-work
    """
    code = "import os, pip, sys; print(*sys.version_info[:2], os.path.realpath(sys.prefix))"
    try:
        return run([VENV / "bin" / "python", "-I", "-c", code]).strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def digests(files: Sequence[Path]) -> list[str]:
    """A digest of each of the files that name the packages to install."""
    return [f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.name}" for path in files]


def install_packages() -> None:
    """Install the packages; into a new environment, unless the existing one only lacks newer packages."""
    print("Installing the Python packages and Node.js into .venv (once, about half a minute)", flush=True)
    if written("installed")[:1] != [environment()]:
        run([sys.executable, "-m", "venv", "--clear", VENV])
    install_uv()
    install_locked(ROOT / "requirements.txt")
    # With the setuptools that is pinned there: an isolated build would take any, and without a hash.
    pip_install("--no-deps", "--no-build-isolation", "--editable", ROOT)
    (VENV / "installed").write_text("\n".join([f"{environment()}", *digests(PINNED), ""]))


def pip_install(*arguments: str | Path) -> None:
    """Call the environment's `pip install`. Raises CalledProcessError."""
    run([VENV / "bin" / "python", "-m", "pip", "install", "-qq", "--disable-pip-version-check", *arguments])


def install_uv() -> None:
    """Install the uv that requirements.txt pins. Raises CalledProcessError."""
    pinned_uv = re.findall(r"^uv==(?:.*\\\n)*.*\n", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.writelines(pinned_uv)
        file.flush()
        pip_install("--require-hashes", "--requirement", file.name)


def install_locked(lock: Path) -> None:
    """Install what a file pins, with uv, which takes much less time than pip. Raises CalledProcessError.

    As pip does, it compiles everything: where PYTHONDONTWRITEBYTECODE is set, each kernel would do so again. It does
    not read pip's configuration: where it can't reach an index, pip may know another one.
    """
    uv: list[str | Path] = [VENV / "bin" / "uv", "pip", "install", "--quiet", "--python", VENV / "bin" / "python"]
    try:
        run([*uv, "--compile-bytecode", "--require-hashes", "--requirement", lock])
    except subprocess.CalledProcessError:
        pip_install("--require-hashes", "--requirement", lock)


def book_is_complete() -> bool:
    """Whether what makes the book was installed into this environment."""
    return written("installed-book") == digests([BOOK])


def install_book() -> None:
    """Install Sphinx and its theme."""
    print("Installing what makes the book into .venv (once)", flush=True)
    install_locked(BOOK)
    (VENV / "installed-book").write_text("\n".join([*digests([BOOK]), ""]))


def page_is_complete() -> bool:
    """Whether the pinned packages of the page are installed. npm writes a list of them at the end."""
    try:
        found = json.loads((FRONTEND / "node_modules" / ".package-lock.json").read_text())["packages"]
    except (OSError, ValueError):
        return False
    pinned = json.loads((FRONTEND / "package-lock.json").read_text())["packages"]
    return all(
        path in found and found[path].get("version") == package.get("version")
        for path, package in pinned.items()
        if path and not package.get("optional")  # "" is the page itself; packages for other machines are optional
    )


def install_page() -> None:
    """Install the page's packages, with the npm that came with the Python packages."""
    print("Installing the page's packages (once)", flush=True)
    npm = shutil.which("npm", path=VENV / "bin") or "npm"
    run([npm, "ci", "--loglevel=error", "--no-audit", "--no-fund"], cwd=FRONTEND)


def run(command: Sequence[str | Path], cwd: Path | None = None) -> str:
    """Run a command and return its output. Raises CalledProcessError, which also has the output."""
    return subprocess.check_output(command, stderr=subprocess.STDOUT, text=True, errors="replace", cwd=cwd)


def reason(output: str) -> str:
    """Why a command failed, in one sentence, and what to do."""
    if broken := re.search(r"connection broken by '(.+)': /", output):  # pip's own error would be about versions
        proxy = " through your proxy" if "ProxyError" in broken[1] else ""
        why = re.split(r"[:>] ", broken[1])[-1].strip("')\" ")
        return (
            f"the index can't be reached{proxy} ({why}). Look at the network, or name a proxy in HTTPS_PROXY. {AGAIN}"
        )
    errors = [line.partition(" ")[2] for line in output.splitlines() if re.match(r"(ERROR:|npm error) ", line)]
    return f"{' '.join(errors[:4] or output.split()[-60:])}. {AGAIN}"


if __name__ == "__main__":
    try:
        main(with_book="book" in sys.argv[1:], say_ready="setup" in sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit("Stopped.")
