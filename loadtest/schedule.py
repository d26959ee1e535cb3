"""When the broadcasts leave. A schedule is fixed before the first one does (open loop): a slow system does not slow it.

A schedule is an array of float64, shape (broadcasts,): seconds after the start, ascending, the first one at or after 0.
"""

import math
from pathlib import Path

import numpy as np

ARRIVALS = ("constant", "poisson", "trace")
MAX_TRACE_BYTES = 100_000_000
"""A larger file is no trace: a million lines, which are more than a test has, take a tenth of this."""


def constant(broadcasts: int, rate: float, duration: float = 0.0) -> np.ndarray:
    """One broadcast every 1 / `rate` seconds: `broadcasts` of them or, if it is not 0, `duration` seconds of them."""
    return np.arange(math.ceil(round(duration * rate, 9)) if duration else broadcasts) / rate


def poisson(broadcasts: int, rate: float, seed: int, duration: float = 0.0) -> np.ndarray:
    """Independent senders: exponential gaps of mean 1 / `rate` seconds; `broadcasts` or `duration` as in `constant`."""
    random = np.random.default_rng(seed)
    if not duration:
        return np.cumsum(random.exponential(1 / rate, broadcasts))
    # Given their number, a Poisson process's points are uniform.
    return np.sort(random.uniform(0, duration, random.poisson(rate * duration)))


def trace(path: str | Path) -> np.ndarray:
    """The offsets in a text file, one a line, in seconds; empty lines and lines with # are comments.

    Raises:
        ValueError: in one sentence, naming the line.
    """
    offsets: list[float] = []
    try:
        lines = _text(Path(path)).splitlines()
    except (OSError, ValueError) as error:
        raise ValueError(f"The trace {str(path)!r} can't be read: {error}.") from error
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        try:
            offset = float(text)
        except ValueError:
            offset = np.nan
        if not 0 <= offset < np.inf or (offsets and offset < offsets[-1]):
            raise ValueError(
                f"{path}, line {number}: {text[:40]!r} is not a number of seconds at or after the line before."
            )
        offsets.append(offset)
    if not offsets:
        raise ValueError(f"The trace {path} has no offsets in it.")
    return np.array(offsets)


def _text(path: Path) -> str:
    if not path.is_file():  # reading a device or a pipe would not end
        raise ValueError("it is no file" if path.exists() else "there is no such file")
    if path.stat().st_size > MAX_TRACE_BYTES:
        raise ValueError(f"it has more than {MAX_TRACE_BYTES // 1_000_000} MB")
    return path.read_text()
