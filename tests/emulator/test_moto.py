"""A second opinion: the notebooks' cells that create, and the teardown, against moto, another emulator of AWS.

It enforces no permissions, runs no functions and opens no sockets here, so what is under "Verify" is left to the local
cloud. What else it does not have is done by `complete`.
"""

import pytest
from botocore.awsrequest import AWSResponse

from chatlab import Lab, list_resources, local_cloud
from chatlab.notebooks import BUILD, TEARDOWN
from tests.support.cells import creating, run_cells


def complete(made):
    """Give a client what moto lacks: API Gateway's deployments, and tags in CreateBucket and of budgets."""
    deployment = AWSResponse("", 201, {}, None), {"DeploymentId": "moto-has-none"}
    for operation in ("CreateDeployment", "UpdateStage"):
        made.meta.events.register(f"before-call.apigatewayv2.{operation}", lambda **_: deployment)
    no_budget = AWSResponse("", 400, {}, None), {"Error": {"Code": "NotFoundException", "Message": "none is here"}}
    made.meta.events.register("before-call.budgets.ListTagsForResource", lambda **_: no_budget)
    asked = {}
    made.meta.events.register("provide-client-params.s3.CreateBucket", lambda params, **_: asked.update(params))
    made.meta.events.register(
        "after-call.s3.CreateBucket",
        lambda **_: made.put_bucket_tagging(
            Bucket=asked["Bucket"], Tagging={"TagSet": asked["CreateBucketConfiguration"]["Tags"]}
        ),
    )
    return made


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A lab whose local cloud is moto."""
    from moto.server import ThreadedMotoServer  # here, since each process that collects the tests would load it

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("CHATLAB_HOME", str(tmp_path))
    monkeypatch.setattr(local_cloud, "url", lambda: f"http://{host}:{port}")
    monkeypatch.setattr(local_cloud, "credentials", lambda: {"aws_access_key_id": "a", "aws_secret_access_key": "b"})
    client = Lab.client
    monkeypatch.setattr(Lab, "client", lambda lab, service, **options: complete(client(lab, service, **options)))
    for name in ("start", "require_running", "stop"):
        monkeypatch.setattr(local_cloud, name, lambda: None)
    yield Lab.choose("local", "chat")
    server.stop()


def create():
    """Everything that the notebooks create, made or found."""
    for name in BUILD[1:]:
        run_cells(name, creating(name))


def test_what_the_notebooks_create_is_found_made_only_once_and_removed_by_the_teardown(lab):
    create()
    found = list_resources(lab)
    assert found.groupby(["service", "kind"]).size().to_dict() == {
        ("apigateway", "api"): 1, ("apigateway", "integration"): 3, ("apigateway", "route"): 3,
        ("apigateway", "stage"): 1, ("dynamodb", "table"): 1, ("iam", "role"): 1, ("iam", "role policy"): 3,
        ("lambda", "function"): 3, ("logs", "log group"): 3, ("s3", "bucket with 2 objects"): 1,
    }  # fmt: skip
    create()
    assert list_resources(lab)["id"].tolist() == found["id"].tolist()
    run_cells(TEARDOWN)
    for service, operation, key in [
        ("apigatewayv2", "get_apis", "Items"), ("dynamodb", "list_tables", "TableNames"),
        ("iam", "list_roles", "Roles"),
        ("lambda", "list_functions", "Functions"), ("logs", "describe_log_groups", "logGroups"),
        ("s3", "list_buckets", "Buckets"),
    ]:  # fmt: skip
        assert getattr(lab.client(service), operation)()[key] == []
