"""All that is built and removed, on a day on which AWS's control plane is not well."""

import time
from contextlib import nullcontext

import pytest
from botocore.exceptions import ClientError

from chatlab import poll
from chatlab.notebooks import BUILD, TEARDOWN
from tests.support.cells import cells, run_cells
from tests.support.labs import lab_in


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("trait", ["faults", "lost-answers=0.2", "slow"])
def test_a_control_plane_that_fails_or_is_slow_does_not_stop_a_run(tmp_path, monkeypatch, trait):
    monkeypatch.setenv("CHATLAB_TRAITS", trait)
    with lab_in(tmp_path):
        for name in [*BUILD[1:], TEARDOWN]:
            said = run_cells(name)
        assert "Nothing is left" in said


def test_the_name_of_a_bucket_that_was_just_deleted_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setenv("CHATLAB_TRAITS", "busy-bucket-name=3")
    with lab_in(tmp_path) as lab:
        s3 = lab.client("s3")
        make = next(source for source in cells("05_frontend_on_s3") if "create_bucket(" in source)
        exec(make, names := {"lab": lab, "s3": s3, "poll": poll, "ClientError": ClientError})
        s3.delete_bucket(Bucket=lab.bucket)
        began = time.monotonic()
        exec(make, names)
        assert time.monotonic() - began > 2
        assert lab.owns(s3.get_bucket_tagging(Bucket=lab.bucket)["TagSet"])


@pytest.mark.parametrize("is_done", [True, False])
def test_an_error_from_time_to_live_is_none_if_it_is_on(tmp_path, is_done):
    """The answer got lost, boto3 asked again, and DynamoDB takes one change an hour."""
    turn_on = next(source for source in cells("01_dynamodb_table") if "update_time_to_live(" in source)
    with lab_in(tmp_path) as lab:
        run_cells("01_dynamodb_table", 2)
        dynamodb = lab.client("dynamodb")
        update, told = (
            dynamodb.update_time_to_live,
            "Time to live has been modified multiple times within a fixed interval",
        )

        def again(**specification):
            if is_done:
                update(**specification)
            raise ClientError({"Error": {"Code": "ValidationException", "Message": told}}, "UpdateTimeToLive")

        dynamodb.update_time_to_live = again
        with nullcontext() if is_done else pytest.raises(ClientError, match=told):
            exec(turn_on, {"lab": lab, "dynamodb": dynamodb})
        status = dynamodb.describe_time_to_live(TableName=lab.table)["TimeToLiveDescription"]["TimeToLiveStatus"]
        assert (status == "ENABLED") == is_done
