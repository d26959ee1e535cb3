"""Whether the functions run the code that is in `lambdas/`, before anything is measured."""

import base64
import hashlib
import io
import zipfile

from chatlab.errors import LabError
from chatlab.paths import LAMBDAS

BROADCAST = (
    "lambda_default.py", "connection_set.py", "event_loop.py", "events.py", "fanout.py", "http_pool.py", "metrics.py",
    "outcomes.py", "post_queue.py", "rate_limiter.py", "retries.py", "sigv4.py", "throttles.py",
)  # fmt: skip
FILES = {"connect": ("lambda_connect.py",), "default": BROADCAST, "disconnect": ("lambda_disconnect.py",)}
"""What each function's deployment package holds, of the folder `lambdas/`."""


def package(files):
    """A deployment package, the bytes of a zip file: the same as notebook 03 makes of the same code.

    Args:
        files: paths, by the name that each has in the package.
    """
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in files.items():
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.external_attr, entry.compress_type = 0o644 << 16, zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())
    return code.getvalue()


def sha256(code):
    """The hash of a package as Lambda tells it, `CodeSha256`."""
    return base64.b64encode(hashlib.sha256(code).digest()).decode()


def require_deployed(lab):
    """Raises LabError, with the notebook to run, if a function runs other code than that of `lambdas/`."""
    functions = lab.client("lambda")
    for part, function in lab.functions.items():
        ours = sha256(package({name: LAMBDAS / name for name in FILES[part]}))
        if functions.get_function_configuration(FunctionName=function)["CodeSha256"] != ours:
            raise LabError(
                f"The function {function} runs other code than lambdas/ has: either that was changed, or notebook 07 "
                "was stopped while it compared broadcasts. Run notebook 03_lambda_functions, which deploys it."
            )
