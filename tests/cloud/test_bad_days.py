"""All that is built and removed, on a day on which AWS's control plane is not well."""

import time

import pytest
from botocore.exceptions import ClientError

from chatlab import poll
from chatlab.notebooks import BUILD, TEARDOWN
from tests.cells import cells, run_cells
from tests.conftest import lab_in


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
