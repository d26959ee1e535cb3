"""Showing what AWS answered as a small table."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from chatlab.privacy import redact

Row = Mapping[str, Any]  # of AWS's answers, whose values are whatever a service says


def format_table(answer: Row | Sequence[Row], *columns: str) -> pd.DataFrame:
    """A DataFrame that you can take in: `answer` is one dict (shown as two columns) or a list of dicts (rows).

    `columns` are the keys to show, by default all but `ResponseMetadata`. What an answer lacks is left blank, a time
    that is not known (NaT) too, and what is private is redacted.
    """

    def text(value: object) -> str:
        return "" if value is None or value is pd.NaT else redact(str(value))

    def texts(row: Row) -> dict[str, str]:
        keys = columns or [key for key in row if key != "ResponseMetadata"]
        return {key: text(row.get(key)) for key in keys}

    if isinstance(answer, Mapping):
        return _Table(texts(answer).items(), columns=["", "value"])
    return _Table([texts(row) for row in answer], columns=columns or None)


class _Table(pd.DataFrame):
    """A DataFrame of texts: aligned to the left, and shown without row numbers."""

    @property
    def _constructor(self) -> type["_Table"]:
        return _Table

    def __repr__(self) -> str:
        return self.to_string(index=False)

    def _repr_html_(self) -> str:
        styled = (
            self.style.format(escape="html")
            .hide(axis="index")
            .set_table_styles([{"selector": "th, td", "props": "text-align: left; white-space: pre-wrap"}])
        )
        return styled.set_table_attributes('class="dataframe"').set_uuid("texts").to_html()
