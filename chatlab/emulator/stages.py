"""Deleted stages: a schedule can delete one, and no handshake succeeds without one. The emulator knows neither.

https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets-universal.html
"""

import json
import logging
from typing import Any

from ministack.core import iam_evaluator
from ministack.core.responses import get_account_id, get_region, new_uuid
from ministack.services import apigateway, eventbridge, scheduler

from chatlab.emulator.asgi import Receive, Scope, Send

DELETE_STAGE = ":aws-sdk:apigatewayv2:deleteStage"
SCHEDULE_INTERVAL_S = 1  # how often the emulator looks whether something is due; by itself each 10 s

logger = logging.getLogger("ministack")


def let_schedules_delete_stages() -> None:
    """Do what such a schedule asks for, if its role is allowed to."""
    scheduler._SCHEDULE_TICK_INTERVAL = SCHEDULE_INTERVAL_S
    invoke = eventbridge._invoke_target

    def invoke_target(target: dict[str, Any], event: Any, rule: Any, view: Any = None) -> Any:
        if not target["Arn"].endswith(DELETE_STAGE):
            return invoke(target, event, rule, view)
        stage: dict[str, str] = json.loads(target["Input"])
        if _is_allowed(target["RoleArn"], f"/apis/{stage['ApiId']}/stages/{stage['StageName']}"):
            return apigateway._delete_stage(stage["ApiId"], stage["StageName"])
        logger.warning("The role of a schedule is not allowed to delete the stage.")
        return None

    eventbridge._invoke_target = invoke_target


def _is_allowed(role_arn: str, path: str) -> bool:
    """Whether the role's policies let it delete what has this path."""
    account_id: str = get_account_id()
    context = iam_evaluator.EvalContext(
        principal_arn=role_arn,
        principal_type="AssumedRole",
        principal_account=account_id,
        action="apigateway:DELETE",
        resource_arn=f"arn:aws:apigateway:{get_region()}::{path}",
        region=get_region(),
    )
    policies = iam_evaluator._gather_role_policies(role_arn.rpartition("/")[2], account_id)
    decision: str = iam_evaluator.evaluate(context, policies).decision
    return decision == "Allow"


def refuse_handshakes_without_a_stage() -> None:
    """Refuse a handshake at a stage that does not exist with 403, as API Gateway does."""
    handle = apigateway.handle_websocket

    async def handle_websocket(
        scope: Scope, receive: Receive, send: Send, api_id: str, path_override: str | None = None
    ) -> None:
        owner = apigateway._api_owner(api_id)
        path: str = scope["path"] if path_override is None else path_override
        stage = path.lstrip("/").partition("/")[0]
        if owner and stage not in apigateway._stages.get_scoped(*owner[1:], api_id, {}):
            await receive()
            await apigateway._refuse_ws_handshake(scope, send, 403, "Forbidden", new_uuid(), new_uuid())
        else:
            await handle(scope, receive, send, api_id, path_override=path_override)

    apigateway.handle_websocket = handle_websocket
