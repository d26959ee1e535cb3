"""Fixtures for several files: the clock of AWS's traits."""

from tests.support.traits import clock

__all__ = ["clock"]
