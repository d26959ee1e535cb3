"""The broadcast, and what is deployed in its place to be compared with it, each by the name by which it is reported."""

from pathlib import Path

from chatlab import Lab, packages
from chatlab.paths import LAMBDAS

_VARIANTS = LAMBDAS / "variants"
FILES: dict[str, dict[str, Path]] = {
    "sequential": {"lambda_default.py": _VARIANTS / "sequential.py"},
    "threads": {"lambda_default.py": _VARIANTS / "threads.py", "sequential.py": _VARIANTS / "sequential.py"},
    "fanout": {name: LAMBDAS / name for name in packages.BROADCAST},
    "ceiling": {"lambda_default.py": _VARIANTS / "ceiling.py", "sigv4.py": LAMBDAS / "sigv4.py"},
}
"""What each one's deployment package holds. The name in it is the handler's: Lambda calls `lambda_default.handler`."""


def package(variant: str) -> bytes:
    """A variant's deployment package, for `update_function_code`: the bytes of a zip file."""
    return packages.build_zip({name: path.read_bytes() for name, path in FILES[variant].items()})


def deploy(lab: Lab, variant: str) -> None:
    """Make `variant` the chat's broadcast."""
    packages.deploy(lab, "default", package(variant))
