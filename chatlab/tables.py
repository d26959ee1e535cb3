"""Showing what AWS answered as a small table."""

import pandas as pd

from chatlab.privacy import redact

pd.set_option("display.max_colwidth", None)  # an ARN that is cut in the middle helps nobody


def format_table(answer, *columns):
    """A DataFrame that a reader can take in: `answer` is one dict (shown as two columns) or a list of dicts (rows).

    `columns` are the keys to show, by default all but `ResponseMetadata`; what an answer lacks is left blank, and what
    is private is masked.
    """

    def text(value):
        return "" if value is None else redact(str(value))

    def shown(row):
        keys = columns or [key for key in row if key != "ResponseMetadata"]
        return {key: text(row.get(key)) for key in keys}

    if isinstance(answer, dict):
        return _Table(shown(answer).items(), columns=["", "value"])
    return _Table([shown(row) for row in answer])


class _Table(pd.DataFrame):
    """A DataFrame of texts: read from the left, and shown without row numbers."""

    @property
    def _constructor(self):
        return _Table

    def __repr__(self):
        return self.to_string(index=False)

    def _repr_html_(self):
        left = {"selector": "th, td", "props": "text-align: left; white-space: pre-wrap"}
        styled = self.style.format(escape="html").hide(axis="index").set_table_styles([left])
        return styled.set_table_attributes('class="dataframe"').set_uuid("texts").to_html()
