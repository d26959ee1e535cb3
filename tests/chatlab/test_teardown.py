"""The teardown ends: with nothing left, or with a table of what resists; and it takes along what was added by hand."""

import json

import pytest

from chatlab import Lab, LabError, list_resources
from chatlab.inventory import list_lab_names, list_tagged_arns
from chatlab.notebooks import TEARDOWN
from tests.support.cells import creating, run_cells
from tests.support.labs import lab_in


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    """A local cloud for all tests, each of which has a lab of its own name in it."""
    with lab_in(tmp_path_factory.mktemp("cloud")) as lab:
        yield lab


def build(name, *notebooks):
    """A lab called `name`, built by these notebooks."""
    lab = Lab.choose("local", name)
    for notebook in notebooks:
        run_cells(notebook, creating(notebook))
    return lab


FUNCTIONS = ("01_dynamodb_table", "02_iam_role", "03_lambda_functions")


def test_what_can_not_be_removed_does_not_keep_the_rest_and_is_told_at_the_end(cloud):
    lab = build("resists", "01_dynamodb_table", "02_iam_role")
    lab.client("logs").create_log_group(logGroupName=lab.log_groups["connect"], tags=lab.tags)
    iam = lab.client("iam")
    user = lab.client("sts").get_caller_identity()["Arn"].rpartition("/")[2]
    deny = {"Effect": "Deny", "Action": ["iam:DeleteRole", "dynamodb:ListTagsOfResource"], "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [deny]})
    iam.put_user_policy(UserName=user, PolicyName="deny", PolicyDocument=document)
    try:
        with pytest.raises(LabError, match=r"^Not all could be removed\. ") as error:
            run_cells(TEARDOWN)
    finally:
        iam.delete_user_policy(UserName=user, PolicyName="deny")
    assert f"delete the role {lab.role}: " in str(error.value) and f"delete the table {lab.table}: " in str(error.value)
    assert sorted(list_resources(lab)["kind"]) == ["role", "table"]
    said = run_cells(TEARDOWN)
    assert "Nothing is left" in said
    assert list_resources(lab).empty and list_tagged_arns(lab) == []


def test_both_finders_agree(cloud):
    lab = build("agree", *FUNCTIONS)
    found = {arn.split(":", 5)[5].split("/")[-1].split(":")[-1] for arn in list_tagged_arns(lab)}
    assert found >= {lab.table, *lab.functions.values()}
    assert found - {lab.role} <= set(list_resources(lab)["id"])
    assert "agree" in list_lab_names(cloud)
    run_cells(TEARDOWN)
    assert list_tagged_arns(lab) == []


def test_what_carries_the_tags_under_another_name_is_found_by_tag(cloud):
    lab = Lab.choose("local", "tagged")
    s3 = lab.client("s3")
    s3.create_bucket(Bucket="of-another-name", CreateBucketConfiguration={"Tags": lab.tag_list})
    assert list_resources(lab).empty
    assert list_tagged_arns(lab) == ["arn:aws:s3:::of-another-name"]
    s3.delete_bucket(Bucket="of-another-name")
    assert list_tagged_arns(lab) == []


def test_a_bucket_with_old_versions_and_half_done_uploads_goes(cloud):
    lab = Lab.choose("local", "versions")
    s3, bucket = lab.client("s3"), {"Bucket": lab.bucket}
    s3.create_bucket(CreateBucketConfiguration={"Tags": lab.tag_list}, **bucket)
    s3.put_object(Key="from before", Body=b"0", **bucket)
    s3.put_bucket_versioning(VersioningConfiguration={"Status": "Enabled"}, **bucket)
    for body in (b"1", b"2"):
        s3.put_object(Key="twice", Body=body, **bucket)
    s3.put_object(Key="deleted", Body=b"3", **bucket)
    s3.delete_object(Key="deleted", **bucket)
    upload = s3.create_multipart_upload(Key="half", **bucket)["UploadId"]
    s3.upload_part(Key="half", UploadId=upload, PartNumber=1, Body=b"x", **bucket)
    said = run_cells(TEARDOWN)
    assert "Deleted 5 objects" in said and "Ended the unfinished upload of half" in said
    assert list_resources(lab).empty


def test_what_was_attached_to_the_role_by_hand_is_detached(cloud):
    lab = build("attached", "02_iam_role")
    iam = lab.client("iam")
    iam.attach_role_policy(RoleName=lab.role, PolicyArn="arn:aws:iam::aws:policy/ReadOnlyAccess")
    iam.create_instance_profile(InstanceProfileName="by-hand")
    iam.add_role_to_instance_profile(InstanceProfileName="by-hand", RoleName=lab.role)
    said = run_cells(TEARDOWN)
    assert "Detached the policy ReadOnlyAccess" in said
    assert "Took the role out of the instance profile by-hand" in said
    assert iam.get_instance_profile(InstanceProfileName="by-hand")["InstanceProfile"]["Roles"] == []
    assert list_resources(lab).empty


def test_a_functions_versions_aliases_and_event_sources_go_with_it(cloud):
    lab = build("versioned", *FUNCTIONS)
    functions, function = lab.client("lambda"), lab.functions["default"]
    version = functions.publish_version(FunctionName=function)["Version"]
    functions.create_alias(FunctionName=function, Name="live", FunctionVersion=version)
    queue = lab.client("sqs").create_queue(QueueName="by-hand")["QueueUrl"]
    arn = lab.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    functions.create_event_source_mapping(FunctionName=function, EventSourceArn=arn)
    said = run_cells(TEARDOWN)
    assert f"Deleted an event source of {function}" in said
    assert functions.list_event_source_mappings()["EventSourceMappings"] == []
    assert list_resources(lab).empty
