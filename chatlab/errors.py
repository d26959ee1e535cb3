"""The one exception that a person may meet: a sentence that says what is wrong and what to do."""


class LabError(Exception):
    """Something that the person at the keyboard can put right."""

    def _render_traceback_(self):
        # IPython asks an exception for this: in a notebook the sentence stands alone, without a traceback above it.
        return [f"LabError: {self}"]
