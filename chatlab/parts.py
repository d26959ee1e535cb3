"""The parts that a notebook needs: they have to exist, and to be the lab's, before anything is changed."""

from collections.abc import Callable, Iterable, Iterator

from botocore.exceptions import ClientError

from chatlab.errors import NOT_FOUND, LabError
from chatlab.lab import Lab
from chatlab.names import STAGE, Tags


def require_parts(lab: Lab, *parts: str) -> None:
    """Raises LabError, with the notebook to run, if one of `parts` (keys of PARTS) does not exist.

    Raises NotOurs if one with the lab's name is not the lab's.
    """
    for part in parts:
        notebook, find = PARTS[part]
        try:
            for thing, tags in find(lab):
                lab.require_own(f"a {thing}", tags)
        except ClientError as error:
            if error.response["Error"]["Code"] not in NOT_FOUND:
                raise
            raise LabError(f"{_missing(lab, part)} yet: run notebook {notebook} first.") from None


def _missing(lab: Lab, part: str) -> str:
    names = {"table": lab.table, "role": lab.role, "stage": STAGE}
    if part == "functions":
        return f"Not all of the functions {', '.join(lab.functions.values())} are there"
    return f"There is no {part} {names[part]}"


def _table(lab: Lab) -> Iterator[tuple[str, Tags]]:
    dynamodb = lab.client("dynamodb")
    table = dynamodb.describe_table(TableName=lab.table)["Table"]
    yield f"table {lab.table}", dynamodb.list_tags_of_resource(ResourceArn=table["TableArn"])["Tags"]


def _role(lab: Lab) -> Iterator[tuple[str, Tags]]:
    yield f"role {lab.role}", lab.client("iam").list_role_tags(RoleName=lab.role)["Tags"]


def _functions(lab: Lab) -> Iterator[tuple[str, Tags]]:
    for function in lab.functions.values():
        yield f"function {function}", lab.client("lambda").get_function(FunctionName=function).get("Tags", {})


def _stage(lab: Lab) -> tuple[()]:
    # The API was found by its tag, and what is in an API of ours is ours.
    lab.client("apigatewayv2").get_stage(ApiId=lab.require_api(), StageName=STAGE)
    return ()


PARTS: dict[str, tuple[str, Callable[[Lab], Iterable[tuple[str, Tags]]]]] = {
    "table": ("01_dynamodb_table", _table),
    "role": ("02_iam_role", _role),
    "functions": ("03_lambda_functions", _functions),
    "stage": ("04_websocket_api", _stage),
}
"""By part: the notebook that creates it, and what finds it: pairs of what to call it and its tags."""
