"""The functions' deployment packages: the zip file, its hash, and whether the functions run what is in `lambdas/`."""

import base64
import hashlib
import io
import zipfile
from collections.abc import Mapping

from chatlab.errors import LabError
from chatlab.lab import Lab
from chatlab.paths import LAMBDAS

PARTS = {
    "connect": ("lambda_connect.py",),
    "default": ("lambda_default.py", "lambda_broadcast.py", "fanout/*.py"),
    "disconnect": ("lambda_disconnect.py",),
}
"""The files of `lambdas/` in each function's package. The package of `default` has both broadcasts, the obvious one
(`lambda_default`) and the fast one (`lambda_broadcast`)."""
HANDLERS = {part: f"lambda_{part}.handler" for part in PARTS}
"""The function that Lambda calls in each package: notebook 03 deploys these."""
FAST = "lambda_broadcast.handler"
"""The broadcast that notebook 07 deploys instead of `lambda_default`."""


def build_zip(files: Mapping[str, bytes]) -> bytes:
    """A deployment package, a zip file, of these files' contents by their names: the same bytes for the same code."""
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))  # the earliest that a zip file can hold
            entry.external_attr = 0o644 << 16  # readable for everyone: Lambda runs as another user
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return package.getvalue()


def build_package(part: str) -> bytes:
    """The deployment package of a part of the chat (a key of PARTS), from `lambdas/`."""
    return build_zip(read_files(*PARTS[part]))


def read_files(*patterns: str) -> dict[str, bytes]:
    """The contents of the files of `lambdas/` that match these patterns, by their paths there."""
    paths = [path for pattern in patterns for path in sorted(LAMBDAS.glob(pattern))]
    return {path.relative_to(LAMBDAS).as_posix(): path.read_bytes() for path in paths}


def sha256(package: bytes) -> str:
    """The hash of a package in Lambda's form, `CodeSha256`."""
    return base64.b64encode(hashlib.sha256(package).digest()).decode()


def deploy(lab: Lab, part: str, package: bytes, handler: str = "") -> None:
    """Give a function of the chat this code and, if one is given, this handler; wait until Lambda runs it."""
    functions, function = lab.client("lambda"), lab.functions[part]
    updated = functions.get_waiter("function_updated_v2")
    updated.wait(FunctionName=function)  # Lambda refuses an update while another is under way
    before = functions.update_function_code(FunctionName=function, ZipFile=package)
    updated.wait(FunctionName=function)
    if handler and before["Handler"] != handler:
        functions.update_function_configuration(FunctionName=function, Handler=handler)
        updated.wait(FunctionName=function)


def require_deployed(lab: Lab) -> str:
    """The handler of the broadcast that is deployed, which is one of the two in `lambdas/`.

    Raises LabError, with the notebook to run, if a function runs other code than that of `lambdas/`.
    """
    functions, handlers = lab.client("lambda"), dict[str, str]()
    for part, function in lab.functions.items():
        deployed = functions.get_function_configuration(FunctionName=function)
        handlers[part] = deployed["Handler"]
        if deployed["CodeSha256"] != sha256(build_package(part)):
            raise LabError(
                f"The function {function} runs other code than lambdas/ has. Run notebook 03_lambda_functions, which "
                "deploys it."
            )
    return handlers["default"]
