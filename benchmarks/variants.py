"""The broadcasts that are compared, each by the name by which it is reported, and how one is deployed."""

from pathlib import Path

from chatlab import Lab, packages

HANDLERS = {
    "sequential": "lambda_default.handler",
    "fanout": packages.HANDLERS["default"],
    "threads": "lambda_threads.handler",
    "ceiling": "lambda_ceiling.handler",
}
"""The first two are the chat's own, in one deployment package; the others are in `benchmarks/lambdas`."""


def deploy(lab: Lab, variant: str) -> None:
    """Make `variant` the chat's broadcast."""
    files = packages.read_files(*packages.PARTS["default"])
    if variant in ("threads", "ceiling"):
        name = f"lambda_{variant}.py"
        files[name] = (Path(__file__).parent / "lambdas" / name).read_bytes()
    packages.deploy(lab, "default", packages.build_zip(files), HANDLERS[variant])
