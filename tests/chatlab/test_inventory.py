"""The inventory finds what is the lab's, and leaves out what is not."""

import pytest

from chatlab import Lab, LabError, list_resources
from chatlab.settings import Settings
from tests.support.labs import lab_in
from tests.support.strangers import KINDS


@pytest.fixture
def stale(tmp_path, monkeypatch):
    """A lab whose cloud answers with lists of some seconds ago."""
    monkeypatch.setenv("CHATLAB_TRAITS", "stale-lists")
    with lab_in(tmp_path / "home") as lab:
        yield lab


def test_what_a_list_still_names_and_nothing_else_knows_is_gone(stale):
    iam, s3 = stale.client("iam"), stale.client("s3")
    iam.create_role(RoleName=stale.role, AssumeRolePolicyDocument="{}", Tags=stale.tag_list)
    s3.create_bucket(Bucket=stale.bucket, CreateBucketConfiguration={"Tags": stale.tag_list})
    assert sorted(list_resources(stale)["service"]) == ["iam", "s3"]
    iam.delete_role(RoleName=stale.role)
    s3.delete_bucket(Bucket=stale.bucket)
    assert [role["RoleName"] for role in iam.list_roles()["Roles"]] == [stale.role]
    assert list_resources(stale).empty


def test_a_trait_that_there_is_not_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("CHATLAB_TRAITS", "bad")
    with pytest.raises(LabError, match=r"CHATLAB_TRAITS is wrong\. There is no trait bad"), lab_in(tmp_path / "home"):
        pass
    assert not list(tmp_path.rglob("cloud.json")), "nothing was started"


def test_everything_that_the_notebooks_make_is_found(chat):
    found = list_resources(chat).query("service != 's3'")  # the page is deployed where a test needs it
    kinds = found.groupby(["service", "kind"]).size().to_dict()
    assert kinds == {
        ("apigateway", "api"): 1, ("apigateway", "integration"): 3, ("apigateway", "route"): 3,
        ("apigateway", "stage"): 1, ("dynamodb", "table"): 1, ("iam", "role"): 1, ("iam", "role policy"): 4,
        ("lambda", "function"): 3, ("logs", "log group"): 3,
    }  # fmt: skip
    assert str(found["created"].dtype).endswith("UTC]")


def test_a_lab_of_another_name_is_not_seen(chat):
    other = Lab(Settings("local", "chat-2", chat.region))
    assert list_resources(other).empty


@pytest.mark.parametrize("tags", [{}, {"chatlab": "theirs"}], ids=["untagged", "tagged"])
def test_what_has_the_name_but_not_the_tags_is_not_ours_of_whatever_kind(lab, tags):
    for make, _ in KINDS.values():
        make(lab, tags)
    assert list_resources(lab).empty


def test_a_bucket_is_found_with_the_number_of_its_objects(lab):
    s3 = lab.client("s3")
    s3.create_bucket(Bucket=lab.bucket, CreateBucketConfiguration={"Tags": lab.tag_list})
    s3.put_object(Bucket=lab.bucket, Key="one", Body=b"1")
    assert list_resources(lab)["kind"].tolist() == ["bucket with 1 objects"]
