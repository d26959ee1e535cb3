"""Files that go away, and results that cannot be written."""

import shutil

import pytest

from tests.support.failures import BROADCASTS, PEOPLE, checked_summary


@pytest.mark.long
def test_a_trace_that_is_deleted_in_the_middle_has_been_read(failure, tmp_path):
    trace = tmp_path / "trace.txt"
    trace.write_text("\n".join(f"{k / 10}" for k in range(BROADCASTS)))
    failure.begin("", "--arrivals", "trace", "--trace", trace)
    failure.until_received()
    trace.unlink()
    test = failure.end()
    assert test.status == 0, test.output
    assert checked_summary(test)["delivered"] == PEOPLE * BROADCASTS


@pytest.mark.long
def test_a_folder_of_results_that_is_deleted_in_the_middle_is_made_again(failure):
    failure.begin()
    failure.until_received()
    shutil.rmtree(failure.folder)
    test = failure.end()
    assert test.status == 0, test.output
    assert checked_summary(test)["delivered"] == PEOPLE * BROADCASTS


def test_what_cannot_be_written_where_it_should_is_in_a_temporary_folder(failure, tmp_path):
    (temporary := tmp_path / "temporary").mkdir()
    failure.begin(environment={"TMPDIR": f"{temporary}"})
    failure.until_received()
    shutil.rmtree(failure.folder)
    failure.folder.write_text("a file in its place")
    # Locust's own file of statistics can't be written either.
    test = failure.end()
    failure.folder.unlink()
    assert test.status == 1
    (failure.elsewhere,) = temporary.glob("loadtest-*")
    (said,) = [line for line in test.errors if "could not be written" in line]
    assert (
        said == f"The results could not be written to {failure.folder}: File exists. They are in {failure.elsewhere}."
    )
    assert len(failure.written(failure.elsewhere)) == PEOPLE * BROADCASTS


@pytest.mark.long
def test_a_full_disk_is_said(failure, tmp_path):
    """The kernel refuses what is larger than a limit, as it would what a disk has no room for."""
    failure.begin(
        """
        import resource
        from loadtest.load_test import LoadTest
        collect = LoadTest._collect
        def fill(self):
            resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))
            collect(self)
        LoadTest._collect = fill
        """,
        environment={"TMPDIR": f"{tmp_path}"},
    )
    test = failure.end()
    assert test.status != 0
    assert any("could not be written" in line for line in test.errors), test.output
    assert "Traceback" not in "\n".join(test.errors)


@pytest.mark.long
def test_a_progress_that_cannot_be_written_ends_nothing(failure):
    failure.begin()
    failure.until_received()
    (failure.folder / "progress.tmp").unlink(missing_ok=True)
    (failure.folder / "progress.tmp").mkdir()
    test = failure.end()
    assert test.status == 0, test.output
    assert checked_summary(test)["delivered"] == PEOPLE * BROADCASTS
