"""Install what the lab needs into `.venv` and `frontend/node_modules`: `make setup`; and the book: `install.py book`.

The machine's own Python runs this file, before anything of the lab's is installed. It looks at what is installed, and
not at the age of files, since a clock may be set. It exits with one sentence if something is wrong.
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


def main(with_book: bool = False) -> None:
    """Install what is missing; what makes the book only if it is asked for."""

    def is_complete() -> bool:
        return packages_are_complete() and page_is_complete() and (not with_book or book_is_complete())

    if not is_complete():
        with one_at_a_time():
            try:
                if not packages_are_complete():
                    install_packages()
                if not page_is_complete():
                    install_page()
                if with_book and not book_is_complete():
                    install_book()
            except OSError as error:
                missing = f": {error.filename}" if error.filename else ""
                sys.exit(f"The lab can't be installed: {error.strerror}{missing}. {AGAIN}")
    with suppress(OSError):
        (VENV / ".lock").chmod(0o600)  # uv makes it for all to write


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Wait for anybody else who installs into this folder."""
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
    return mark() == [environment(), *pinned()]


def mark() -> list[str]:
    """What `install_packages` wrote down at its end, as lines; none if it did not get so far."""
    try:
        return (VENV / "installed").read_text().splitlines()
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


def pinned(files: Sequence[Path] | None = None) -> list[str]:
    """Digests of the files that name the packages to install; None stands for the lab's."""
    return [f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.name}" for path in files or PINNED]


def install_packages() -> None:
    """Install the packages; into a new environment, unless the existing one only lacks newer packages."""
    print("Installing the Python packages and Node.js into .venv (once, about half a minute)", flush=True)
    try:
        if not mark() or mark()[0] != environment():
            run([sys.executable, "-m", "venv", "--clear", VENV])
        install_uv()
        install_locked(ROOT / "requirements.txt")
        # With the setuptools that is pinned there: an environment of its own would take any, and without a hash.
        pip_install("--no-deps", "--no-build-isolation", "--editable", ROOT)
    except subprocess.CalledProcessError as failed:
        sys.exit(f"The Python packages can't be installed: {reason(failed.output)}")
    (VENV / "installed").write_text("\n".join([f"{environment()}", *pinned(), ""]))


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
    not read pip's configuration, so where it can't reach an index, pip may know another one.
    """
    uv: list[str | Path] = [VENV / "bin" / "uv", "pip", "install", "--quiet", "--python", VENV / "bin" / "python"]
    try:
        run([*uv, "--compile-bytecode", "--require-hashes", "--requirement", lock])
    except subprocess.CalledProcessError:
        pip_install("--require-hashes", "--requirement", lock)


def book_is_complete() -> bool:
    """Whether what makes the book was installed into this environment."""
    try:
        return (VENV / "installed-book").read_text().splitlines() == pinned([BOOK])
    except OSError:
        return False


def install_book() -> None:
    """Install Sphinx and its theme."""
    print("Installing what makes the book into .venv (once)", flush=True)
    try:
        install_locked(BOOK)
    except subprocess.CalledProcessError as failed:
        sys.exit(f"What makes the book can't be installed: {reason(failed.output)}")
    (VENV / "installed-book").write_text("\n".join([*pinned([BOOK]), ""]))


def page_is_complete() -> bool:
    """Whether the page's packages are those that are pinned. npm writes its own list of them when all are installed."""
    try:
        found = json.loads((FRONTEND / "node_modules" / ".package-lock.json").read_text())["packages"]
    except (OSError, ValueError):
        return False
    pinned = json.loads((FRONTEND / "package-lock.json").read_text())["packages"]
    return all(
        path in found and found[path].get("version") == package.get("version")
        for path, package in pinned.items()
        if path and not package.get("optional")  # "" is the page itself; what is for other machines is optional
    )


def install_page() -> None:
    """Install the page's packages, with the npm that came with the Python packages."""
    print("Installing the page's packages (once)", flush=True)
    npm = shutil.which("npm", path=VENV / "bin") or "npm"
    try:
        run([npm, "ci", "--loglevel=error", "--no-audit", "--no-fund"], cwd=FRONTEND)
    except subprocess.CalledProcessError as failed:
        sys.exit(f"The page's packages can't be installed: {reason(failed.output)}")


def run(command: Sequence[str | Path], cwd: Path | None = None) -> str:
    """Run a command and return its output. Raises CalledProcessError, which has the output, too."""
    return subprocess.check_output(command, stderr=subprocess.STDOUT, text=True, errors="replace", cwd=cwd)


def reason(output: str) -> str:
    """Why a command failed, in one sentence, and what to do."""
    if broken := re.search(r"connection broken by '(.+)': /", output):  # pip's own errors speak of versions then
        proxy = " through your proxy" if "ProxyError" in broken[1] else ""
        why = re.split(r"[:>] ", broken[1])[-1].strip("')\" ")
        return (
            f"the index can't be reached{proxy} ({why}). Look at the network, or name a proxy in HTTPS_PROXY. {AGAIN}"
        )
    errors = [line.partition(" ")[2] for line in output.splitlines() if re.match(r"(ERROR:|npm error) ", line)]
    return f"{' '.join(errors[:4] or output.split()[-60:])}. {AGAIN}"


if __name__ == "__main__":
    try:
        main(with_book="book" in sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit("Stopped.")
