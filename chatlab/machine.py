"""The machine that a run ran on, and the versions of what it used. It names neither the machine nor its user."""

import os
import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

PACKAGES = ("websocket-chat-lab", "locust", "boto3", "ministack", "websocket-client")


def describe() -> dict[str, str]:
    """What a reader has to know to compare figures, by its name."""
    release = platform.release().partition("-")[0]  # what is behind it names a provider, or who built it
    memory_gb = psutil.virtual_memory().total / 2**30
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{memory_gb:.0f} GB",
        "system": f"{platform.system()} {release}, {platform.machine()}",
        "Python": platform.python_version(),
        "packages": ", ".join(_versions()),
    }


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _versions() -> list[str]:
    found = []
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return found
