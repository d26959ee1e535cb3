"""The functions' deployment packages: the zip file, its hash, and whether the functions run what is in `lambdas/`."""

import base64
import hashlib
import io
import zipfile
from collections.abc import Mapping

from chatlab.errors import LabError
from chatlab.lab import Lab
from chatlab.paths import LAMBDAS

BROADCAST = (
    "lambda_default.py", "connection_set.py", "event_loop.py", "events.py", "fanout.py", "http_pool.py", "metrics.py",
    "outcomes.py", "post_queue.py", "rate_limiter.py", "retries.py", "sigv4.py", "throttles.py",
)  # fmt: skip
FILES = {"connect": ("lambda_connect.py",), "default": BROADCAST, "disconnect": ("lambda_disconnect.py",)}
"""What each function's deployment package holds, of the folder `lambdas/`."""


def build_zip(files: Mapping[str, bytes]) -> bytes:
    """A deployment package, a zip file: always the same bytes for the same code.

    Args:
        files: what each holds, by the name that it has in the package.
    """
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))  # the earliest that a zip file can hold
            entry.external_attr = 0o644 << 16  # readable for everyone: Lambda runs as another user
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return package.getvalue()


def build_package(part: str) -> bytes:
    """The deployment package of a part of the chat (a key of FILES), from `lambdas/`."""
    return build_zip({name: (LAMBDAS / name).read_bytes() for name in FILES[part]})


def sha256(package: bytes) -> str:
    """The hash of a package in Lambda's form, `CodeSha256`."""
    return base64.b64encode(hashlib.sha256(package).digest()).decode()


def deploy(lab: Lab, part: str, package: bytes) -> None:
    """Give a function of the chat this code, and wait until Lambda runs it."""
    functions, function = lab.client("lambda"), lab.functions[part]
    updated = functions.get_waiter("function_updated_v2")
    updated.wait(FunctionName=function)  # Lambda refuses an update while another is under way
    functions.update_function_code(FunctionName=function, ZipFile=package)
    updated.wait(FunctionName=function)


def require_deployed(lab: Lab) -> None:
    """Raises LabError, with the notebook to run, if a function runs other code than that of `lambdas/`."""
    functions = lab.client("lambda")
    for part, function in lab.functions.items():
        expected = sha256(build_package(part))
        if functions.get_function_configuration(FunctionName=function)["CodeSha256"] != expected:
            raise LabError(
                f"The function {function} runs other code than lambdas/ has: either that was changed, or notebook 07 "
                "was stopped while it compared broadcasts. Run notebook 03_lambda_functions, which deploys it."
            )
