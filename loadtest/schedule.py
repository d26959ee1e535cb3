"""When the broadcasts are due. A schedule is fixed before the first one (open loop): a slow system does not slow it.

A schedule is an array of float64, shape (broadcasts,): seconds after the start, ascending, the first one at or after 0.
"""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Offsets = NDArray[np.float64]

ARRIVALS = ("constant", "poisson", "trace")
MAX_TRACE_BYTES = 100_000_000
"""A larger file is not a trace: a million lines, which are more than a test can have, take a tenth of this."""


def constant(broadcasts: int, rate: float, duration: float = 0.0) -> Offsets:
    """One broadcast every 1 / `rate` seconds: `broadcasts` of them or, if it is not 0, for `duration` seconds."""
    return np.arange(math.ceil(round(duration * rate, 9)) if duration else broadcasts) / rate


def poisson(broadcasts: int, rate: float, seed: int, duration: float = 0.0) -> Offsets:
    """Independent senders: exponential gaps of mean 1 / `rate` seconds; `broadcasts` or `duration` as in `constant`."""
    random = np.random.default_rng(seed)
    if not duration:
        return np.cumsum(random.exponential(1 / rate, broadcasts))
    # Given their number, a Poisson process's points are uniform.
    return np.sort(random.uniform(0, duration, random.poisson(rate * duration)))


def trace(path: str | Path) -> Offsets:
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
        raise ValueError("it is not a file" if path.exists() else "there is no such file")
    if path.stat().st_size > MAX_TRACE_BYTES:
        raise ValueError(f"it has more than {MAX_TRACE_BYTES // 1_000_000} MB")
    return path.read_text()
