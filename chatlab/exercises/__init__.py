"""The checks of the notebooks' exercises: a module for each notebook that has some."""

from chatlab.exercises import role, table

__all__ = ["role", "table"]
