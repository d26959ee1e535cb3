"""The checks of the notebooks' exercises: a module for each notebook that has some."""

from chatlab.exercises import load_test, role, scaling, table

__all__ = ["load_test", "role", "scaling", "table"]
