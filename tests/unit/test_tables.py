"""Answers of AWS as small tables."""

import pandas as pd

from chatlab.tables import format_table


def test_one_answer_becomes_two_columns_without_the_metadata():
    shown = format_table({"Name": "chat", "ResponseMetadata": {"RequestId": "x"}})
    assert shown.values.tolist() == [["Name", "chat"]]


def test_several_answers_become_rows_with_the_columns_asked_for():
    shown = format_table([{"a": 1, "b": 2, "c": 3}, {"a": 4}], "a", "b")
    assert shown.values.tolist() == [["1", "2"], ["4", ""]]


def test_a_time_that_is_not_known_is_left_blank():
    assert format_table([{"id": "x", "created": pd.NaT}]).values.tolist() == [["x", ""]]


def test_no_rows_is_an_empty_table_with_the_columns_asked_for():
    assert format_table([]).empty
    assert format_table([], "a", "b").columns.tolist() == ["a", "b"]


def test_what_is_shown_is_text_and_never_markup():
    page = format_table([{"said": "<b>bold</b>"}])._repr_html_()
    assert "&lt;b&gt;bold&lt;/b&gt;" in page
    assert "text-align: left" in page


def test_one_column_is_shown_as_a_column():
    assert format_table([{"connection_id": "x"}])["connection_id"].tolist() == ["x"]
