"""The checks of the notebooks' exercises: a module for each notebook that has some."""

from chatlab.exercises import api, functions, page, role, rooms, table

__all__ = ["api", "functions", "page", "role", "rooms", "table"]
