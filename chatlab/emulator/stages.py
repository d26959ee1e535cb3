"""Stages that are gone: a schedule can remove one, and nobody is let in without one. The emulator knows neither.

https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets-universal.html
"""

import json
import logging

from ministack.core import iam_evaluator
from ministack.core.responses import get_account_id, get_region, new_uuid
from ministack.services import apigateway, eventbridge, scheduler

DELETE_STAGE = ":aws-sdk:apigatewayv2:deleteStage"
EVERY_S = 1  # how often it is looked whether something is due; by itself the emulator takes 10 s

logger = logging.getLogger("ministack")


def let_schedules_delete_stages():
    """Do what such a schedule asks for, if its role is allowed to."""
    scheduler._SCHEDULE_TICK_INTERVAL = EVERY_S
    invoke = eventbridge._invoke_target

    def invoke_target(target, event, rule, view=None):
        if not target["Arn"].endswith(DELETE_STAGE):
            return invoke(target, event, rule, view)
        asked = json.loads(target["Input"])
        if _allowed(target["RoleArn"], f"/apis/{asked['ApiId']}/stages/{asked['StageName']}"):
            return apigateway._delete_stage(asked["ApiId"], asked["StageName"])
        logger.warning("The role of a schedule is not allowed to delete the stage.")

    eventbridge._invoke_target = invoke_target


def _allowed(role_arn, path):
    account = get_account_id()
    context = iam_evaluator.EvalContext(
        principal_arn=role_arn,
        principal_type="AssumedRole",
        principal_account=account,
        action="apigateway:DELETE",
        resource_arn=f"arn:aws:apigateway:{get_region()}::{path}",
        region=get_region(),
    )
    policies = iam_evaluator._gather_role_policies(role_arn.rpartition("/")[2], account)
    return iam_evaluator.evaluate(context, policies).decision == "Allow"


def let_nobody_in_without_a_stage():
    """Refuse a handshake at a stage that there is not with 403, as API Gateway does."""
    handle = apigateway.handle_websocket

    async def handle_websocket(scope, receive, send, api_id, path_override=None):
        owner = apigateway._api_owner(api_id)
        stage = (scope["path"] if path_override is None else path_override).lstrip("/").partition("/")[0]
        if owner and stage not in apigateway._stages.get_scoped(*owner[1:], api_id, {}):
            await receive()
            await apigateway._refuse_ws_handshake(scope, send, 403, "Forbidden", new_uuid(), new_uuid())
        else:
            await handle(scope, receive, send, api_id, path_override=path_override)

    apigateway.handle_websocket = handle_websocket
