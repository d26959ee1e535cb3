"""A notebook whose parts are not there yet says which notebook makes them, and makes nothing."""

import pytest

from chatlab import Lab, LabError, list_resources
from tests.support.cells import run_cells


@pytest.mark.usefixtures("lab")
def test_a_notebook_names_the_one_whose_part_it_stands_on():
    lab = Lab.choose("local", "parts")
    for name, sentence in [
        ("03_lambda_functions", "There is no table parts yet: run notebook 01_dynamodb_table first."),
        ("04_websocket_api", "There is no table parts yet: run notebook 01_dynamodb_table first."),
        (
            "05_frontend_on_s3",
            "Not all of the functions parts-connect, parts-default, parts-disconnect are there yet: run notebook "
            "03_lambda_functions first.",
        ),
    ]:
        with pytest.raises(LabError) as error:
            run_cells(name)
        assert str(error.value) == sentence
    assert list_resources(lab).empty
    run_cells("01_dynamodb_table")
    with pytest.raises(LabError, match=rf"There is no role {lab.role} yet: run notebook 02_iam_role first\."):
        run_cells("03_lambda_functions")
    run_cells("02_iam_role")
    with pytest.raises(
        LabError, match="Not all of the functions parts-connect, parts-default, parts-disconnect are there"
    ):
        run_cells("04_websocket_api")
