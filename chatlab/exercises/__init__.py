"""The checks of the notebooks' exercises: a module for each notebook that has some."""
