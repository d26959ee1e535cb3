"""When the broadcasts leave. A schedule is fixed before the first one does (open loop): a slow system does not slow it.

A schedule is an array of float64, shape (broadcasts,): seconds after the start, ascending, the first one at or after 0.
"""

import math
from pathlib import Path

import numpy as np

ARRIVALS = ("constant", "poisson", "trace")


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
        lines = Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"The trace {path} cannot be read: {error}.") from error
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        try:
            offset = float(text)
        except ValueError:
            offset = np.nan
        if not 0 <= offset < np.inf or (offsets and offset < offsets[-1]):
            raise ValueError(f"{path}, line {number}: {text!r} is not a number of seconds at or after the line before.")
        offsets.append(offset)
    if not offsets:
        raise ValueError(f"The trace {path} has no offsets in it.")
    return np.array(offsets)
