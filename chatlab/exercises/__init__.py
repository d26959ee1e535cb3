"""The checks of the notebooks' exercises: a module for each notebook that has some."""

from chatlab.exercises import api, functions, load_test, page, role, rooms, scaling, table

__all__ = ["api", "functions", "load_test", "page", "role", "rooms", "scaling", "table"]
