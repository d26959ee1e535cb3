"""Make `.venv` and `frontend/node_modules` what they have to be: `make setup`.

This is run by a Python of the machine's, as a file, before anything of the lab's is installed. All of it is decided by
what is there, and not by the age of files: a clock may be set. It exits with one sentence where something is wrong.
"""

import fcntl
import hashlib
import json
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
FRONTEND = ROOT / "frontend"
PINNED = (ROOT / "requirements.txt", ROOT / "pyproject.toml")
AGAIN = "Then give the same command again."


def main():
    """Install what is missing; nothing, within a moment, where nothing is."""
    if packages_are_whole() and page_is_whole():
        return
    with one_at_a_time():
        if not packages_are_whole():
            install_packages()
        if not page_is_whole():
            install_page()


@contextmanager
def one_at_a_time():
    """Whoever else installs into this folder is waited for."""
    folder = ROOT / ".chatlab"
    try:
        folder.mkdir(exist_ok=True)
        with open(folder / "setup.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as error:
        sys.exit(f"The folder {ROOT} can't be written to ({error.strerror}): clone the lab where you may write.")


def packages_are_whole():
    """Whether all was installed to its end, here, and by a Python that still runs."""
    return mark() == [environment(), *pinned()]


def mark():
    """What `install_packages` wrote down at its end, as lines; none if it did not come so far."""
    try:
        return (VENV / "installed").read_text().splitlines()
    except OSError:
        return []


def environment():
    """The version and the place of the environment's own Python; None if there is none, or no pip.

    An environment that was moved or copied is no good: its programs name the folder in which it was made.
    https://docs.python.org/3/library/venv.html#how-venvs-work
    """
    told = "import os, pip, sys; print(*sys.version_info[:2], os.path.realpath(sys.prefix))"
    try:
        return run([VENV / "bin" / "python", "-I", "-c", told]).strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def pinned():
    """Digests of what says which packages are to be there."""
    return [f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.name}" for path in PINNED]


def install_packages():
    """Install the packages; into a new environment, unless the one that is there is whole but for newer packages."""
    print("Installing the Python packages and Node.js into .venv (once, about a minute)", flush=True)
    pip = [VENV / "bin" / "python", "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    try:
        if not mark() or mark()[0] != environment():
            run([sys.executable, "-m", "venv", "--clear", VENV])
        run([*pip, "--require-hashes", "--requirement", ROOT / "requirements.txt"])
        # With the setuptools that is pinned there: an environment of its own would take any, and without a hash.
        run([*pip, "--no-deps", "--no-build-isolation", "--editable", ROOT])
    except subprocess.CalledProcessError as failed:
        sys.exit(f"The Python packages can't be installed: {reason(failed.output)}")
    (VENV / "installed").write_text("\n".join([environment(), *pinned(), ""]))


def page_is_whole():
    """Whether the page's packages are those that are pinned. npm writes its own list of them when all are there."""
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


def install_page():
    """The page's packages, by the npm that came with the Python packages."""
    print("Installing the page's packages (once)", flush=True)
    npm = shutil.which("npm", path=VENV / "bin")
    try:
        run([npm, "ci", "--loglevel=error", "--no-audit", "--no-fund"], cwd=FRONTEND)
    except subprocess.CalledProcessError as failed:
        sys.exit(f"The page's packages can't be installed: {reason(failed.output)}")


def run(command, **options):
    """What the command says. Raises CalledProcessError with what it said."""
    return subprocess.check_output(command, stderr=subprocess.STDOUT, text=True, errors="replace", **options)


def reason(said):
    """Why, in one sentence, and what to do."""
    if broken := re.search(r"connection broken by '(.+)': /", said):  # pip's own errors speak of versions then
        proxy = " through your proxy" if "ProxyError" in broken[1] else ""
        why = re.split(r"[:>] ", broken[1])[-1].strip("')\" ")
        return (
            f"the index can't be reached{proxy} ({why}). Look at the network, or name a proxy in HTTPS_PROXY. {AGAIN}"
        )
    errors = [line.partition(" ")[2] for line in said.splitlines() if re.match(r"(ERROR:|npm error) ", line)]
    return f"{' '.join(errors[:4] or said.split()[-60:])}. {AGAIN}"


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("Stopped.")
