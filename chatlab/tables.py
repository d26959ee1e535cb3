"""Showing what AWS answered as a small table."""

import pandas as pd

pd.set_option("display.max_colwidth", None)  # an ARN that is cut in the middle helps nobody


def table(answer, *, hide=None):
    """A DataFrame that a reader can take in: `answer` is one dict (shown as two columns) or a list of dicts (rows).

    `hide` is a text that must not be seen, the account's number: each of its characters becomes a dot, also within
    ARNs and URLs, so that a notebook can be shared with its outputs.
    """

    def text(value):
        value = "" if value is None else str(value)
        return value.replace(hide, "·" * len(hide)) if hide else value

    if isinstance(answer, dict):
        rows = [(text(key), text(value)) for key, value in answer.items()]
        return pd.DataFrame(rows, columns=["what", "value"]).set_index("what")
    rows = pd.DataFrame([{key: text(value) for key, value in row.items()} for row in answer])
    return rows.set_index(rows.columns[0]) if len(rows) else rows
