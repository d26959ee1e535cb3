"""Tasks on Fargate, as notebook 10 makes them: with one container, which sleeps unless it is told otherwise."""

IMAGE = "public.ecr.aws/docker/library/python:3.12.12-slim"
SLEEP = ["python", "-c", "import time; time.sleep(60)"]


def define(lab, tags=(), **container):
    """Register a revision of the lab's task definition; its ARN."""
    container = {"name": "load-test", "image": IMAGE, "command": SLEEP} | container
    return lab.client("ecs").register_task_definition(
        family=lab.load_test, requiresCompatibilities=["FARGATE"], networkMode="awsvpc", cpu="256", memory="512",
        tags=[*tags], containerDefinitions=[container],
    )["taskDefinition"]["taskDefinitionArn"]  # fmt: skip


def run(lab, definition, groups=(), **more):
    """Run a task in the lab's cluster; its ARN."""
    subnet = lab.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
    network = {"awsvpcConfiguration": {"subnets": [subnet], "securityGroups": [*groups], "assignPublicIp": "ENABLED"}}
    answer = lab.client("ecs").run_task(
        cluster=lab.load_test, taskDefinition=definition, launchType="FARGATE", networkConfiguration=network, **more
    )
    assert answer["failures"] == [], answer
    return answer["tasks"][0]["taskArn"]
