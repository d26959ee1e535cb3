"""Install what the lab needs into `.venv` and `frontend/node_modules`: `make setup`.

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
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
FRONTEND = ROOT / "frontend"
PINNED = (ROOT / "requirements.txt", ROOT / "pyproject.toml")
AGAIN = "Then give the same command again."


def main() -> None:
    """Install what is missing."""
    if packages_are_complete() and page_is_complete():
        return
    with one_at_a_time():
        if not packages_are_complete():
            install_packages()
        if not page_is_complete():
            install_page()


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Wait for anybody else who installs into this folder."""
    folder = ROOT / ".chatlab"
    try:
        folder.mkdir(exist_ok=True)
        with open(folder / "setup.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as error:
        sys.exit(f"The folder {ROOT} can't be written to ({error.strerror}): clone the lab where you may write.")


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


def pinned() -> list[str]:
    """Digests of the files that name the packages to install."""
    return [f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.name}" for path in PINNED]


def install_packages() -> None:
    """Install the packages; into a new environment, unless the existing one only lacks newer packages."""
    print("Installing the Python packages and Node.js into .venv (once, about half a minute)", flush=True)
    pip: list[str | Path] = [VENV / "bin" / "python", "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    try:
        if not mark() or mark()[0] != environment():
            run([sys.executable, "-m", "venv", "--clear", VENV])
        install_locked(pip)
        # With the setuptools that is pinned there: an environment of its own would take any, and without a hash.
        run([*pip, "--no-deps", "--no-build-isolation", "--editable", ROOT])
    except subprocess.CalledProcessError as failed:
        sys.exit(f"The Python packages can't be installed: {reason(failed.output)}")
    (VENV / "installed").write_text("\n".join([f"{environment()}", *pinned(), ""]))


def install_locked(pip: Sequence[str | Path]) -> None:
    """Install what requirements.txt pins, with the uv that it pins, in a sixth of pip's time.

    uv does not read pip's configuration. So where it can't reach an index, pip may know another one, and does it all.
    """
    lock = ROOT / "requirements.txt"
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as only_uv:
        only_uv.writelines(re.findall(r"^uv==(?:.*\\\n)*.*\n", lock.read_text(), re.MULTILINE))
        only_uv.flush()
        run([*pip, "--require-hashes", "--requirement", only_uv.name])
    uv: list[str | Path] = [VENV / "bin" / "uv", "pip", "install", "--quiet", "--python", VENV / "bin" / "python"]
    try:
        run([*uv, "--require-hashes", "--requirement", lock])
    except subprocess.CalledProcessError:
        run([*pip, "--no-compile", "--require-hashes", "--requirement", lock])


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
        main()
    except KeyboardInterrupt:
        sys.exit("Stopped.")
