"""A lab for tests, and its chat: built by the notebooks, changed for a while, put back."""

import json
from contextlib import contextmanager

import pytest

from chatlab import Lab, list_resources, local_cloud
from chatlab.notebooks import BUILD, DEPLOY, FASTER, execute
from chatlab.paths import state_dir
from tests.support.cells import creating, run_cells


@contextmanager
def lab_in(folder):
    """A lab at home in `folder`, chosen, with a local cloud of its own that is stopped at the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHATLAB_HOME", str(folder))
        try:
            yield Lab.choose("local", "chat")
        finally:
            local_cloud.stop()


EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


@contextmanager
def used_by(person, lab, policy=EVERYTHING):
    """The local cloud of `lab`, used by somebody who has this policy."""
    iam, file, user = lab.client("iam"), state_dir() / "key.json", {"UserName": person}
    before = file.read_text()
    iam.create_user(**user)
    iam.put_user_policy(PolicyName="all", PolicyDocument=json.dumps(policy), **user)
    key = iam.create_access_key(**user)["AccessKey"]
    file.write_text(json.dumps({name: key[name] for name in ("AccessKeyId", "SecretAccessKey")}))
    try:
        yield
    finally:
        file.write_text(before)
        iam.delete_access_key(AccessKeyId=key["AccessKeyId"], **user)
        iam.delete_user_policy(PolicyName="all", **user)
        iam.delete_user(**user)


def run_notebook(name, folder, **parameters):
    """Execute a notebook, which has to succeed; the executed notebook's path."""
    path = folder / f"{name}.ipynb"
    outcome = execute(name, path, parameters)
    assert outcome.ok, f"{name}, {outcome.reason}"
    return path


@contextmanager
def without_policy(lab, name):
    """The role's inline policy `name` taken away, and put back at the end."""
    iam = lab.client("iam")
    document = iam.get_role_policy(RoleName=lab.role, PolicyName=name)["PolicyDocument"]
    iam.delete_role_policy(RoleName=lab.role, PolicyName=name)
    try:
        yield
    finally:
        iam.put_role_policy(RoleName=lab.role, PolicyName=name, PolicyDocument=json.dumps(document))


def wait_for_update(lab, part="default"):
    """Wait until the broadcast, or another function, is as it was configured last."""
    lab.client("lambda").get_waiter("function_updated_v2").wait(FunctionName=lab.functions[part])


@contextmanager
def variables(lab, part="default", **more):
    """The broadcast, or another function, with these environment variables beside, or in place of, its own."""
    functions, function = lab.client("lambda"), lab.functions[part]
    before = functions.get_function_configuration(FunctionName=function)["Environment"]["Variables"]

    def set_to(wanted):
        functions.update_function_configuration(FunctionName=function, Environment={"Variables": wanted})
        wait_for_update(lab, part)

    set_to(before | more)
    try:
        yield
    finally:
        set_to(before)


def sharding(lab, shards, above):
    """The broadcast with `SHARDS` and `SHARD_ABOVE` set."""
    return variables(lab, SHARDS=str(shards), SHARD_ABOVE=str(above))


def build_chat(**parameters):
    """Build the chosen lab's chat up to the WebSocket API, by the cells of the notebooks that create something, and
    deploy its fast broadcast."""
    for name in BUILD[1:-1]:  # the lab is chosen, and the page is for others
        run_cells(name, creating(name, **parameters), **parameters)
    run_cells(FASTER, only=DEPLOY, **parameters)


@contextmanager
def chat_in(folder, **parameters):
    """A lab at home in `folder` with a chat in it."""
    with lab_in(folder / "home") as lab:
        build_chat(**parameters)
        yield lab


def everything(lab):
    """What exists, and how it is configured: what must not change when a notebook is run again."""
    functions, gateway, iam, s3 = (lab.client(name) for name in ("lambda", "apigatewayv2", "iam", "s3"))
    api_id = lab.require_api()
    found = {"inventory": list_resources(lab).astype(str).to_dict("records")}
    for function in lab.functions.values():
        configuration = functions.get_function_configuration(FunctionName=function)
        found[function] = {key: configuration[key] for key in ("CodeSha256", "LastModified", "Environment", "Timeout")}
        found[f"{function} policy"] = json.loads(functions.get_policy(FunctionName=function)["Policy"])
    found["stage"] = {
        key: str(value)
        for key, value in gateway.get_stage(ApiId=api_id, StageName="production").items()
        if key != "ResponseMetadata"
    }
    for policy in iam.list_role_policies(RoleName=lab.role)["PolicyNames"]:
        found[policy] = iam.get_role_policy(RoleName=lab.role, PolicyName=policy)["PolicyDocument"]
    found["bucket policy"] = json.loads(s3.get_bucket_policy(Bucket=lab.bucket)["Policy"])
    found["objects"] = {o["Key"]: o["ETag"] for o in s3.list_objects_v2(Bucket=lab.bucket)["Contents"]}
    return found
