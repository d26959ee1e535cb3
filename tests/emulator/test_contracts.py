"""What the emulator takes from MiniStack that MiniStack does not document.

Each version of MiniStack may change it: pyproject.toml has the versions that may be installed. Each name has its
parameters here, and its type if it can't be called.
"""

import json
import re
import subprocess
import sys

from chatlab.paths import ROOT

CONTRACTS = """
app._NON_S3_VHOST_NAMES: frozenset
core.iam_actions.access_denied_response(service, action, principal_arn, request_id, error_code, message, headers, resource_arn, explicit_deny, resource_policy_arn)
core.iam_actions.extract_iam_action(service, method, path, headers, body, query_params)
core.iam_actions.extract_resource_arn(service, method, path, headers, body, query_params, region, account_id)
core.iam_actions.identity_denial_message(action, principal_arn, resource, explicit_deny)
core.iam_evaluator.AuthError: type
core.iam_evaluator.EvalContext: type
core.iam_evaluator.ResolvedCredential: type
core.iam_evaluator._gather_role_policies(role_name, account_id)
core.iam_evaluator._signature_attempted(authorization, query_params)
core.iam_evaluator._signed_request: ContextVar
core.iam_evaluator.authenticate(access_key_id, account_id)
core.iam_evaluator.enforce(access_key_id, iam_action, service, region, resource_arn, service_context)
core.iam_evaluator.evaluate(ctx, policies, limits)
core.iam_evaluator.find_iam_access_key_account(access_key_id)
core.iam_evaluator.is_root_access_key(access_key_id)
core.iam_evaluator.pin_signed_body(body)
core.iam_evaluator.pin_signed_request(method, raw_path, query_params, raw_headers, handshake)
core.iam_evaluator.resolve_credential(access_key_id, account_id, session_token)
core.iam_evaluator.resolve_principal(access_key_id, account_id, credential)
core.lambda_runtime.Worker.invoke(self, event, request_id, trace_id, depth, durable, invoked_function_arn)
core.lambda_runtime.execution_credentials(config)
core.responses.get_account_id()
core.responses.get_region()
core.responses.new_uuid()
core.router.extract_access_key_id(headers, query_params)
core.sigv4.decode_header_value(value)
core.tls.resolve_tls_material()
core.tls.use_ssl_enabled()
services.apigateway._api_owner(api_id)
services.apigateway._api_tags: AccountRegionScopedDict
services.apigateway._delete_stage(api_id, stage_name)
services.apigateway._evaluate_route_selection(expr, payload_text)
services.apigateway._extract_lambda_ref_from_integration_uri(uri)
services.apigateway._integrations: AccountRegionScopedDict
services.apigateway._invoke_ws_lambda(api_id, account_id, region, route, stage, connection_id, event_type, message_id, body_text, source_ip, headers, query_params, kwargs)
services.apigateway._refuse_ws_handshake(scope, send, status, message, connection_id, request_id)
services.apigateway._stages: AccountRegionScopedDict
services.apigateway._stages.get_scoped(account_id, region, key, default)
services.apigateway._ws_connections: dict
services.apigateway.handle_connections_api(method, api_id, stage, connection_id, body, headers)
services.apigateway.handle_websocket(scope, receive, send, api_id, path_override)
services.cloudwatch._dims_key(dims)
services.cloudwatch._metric_bucket(key)
services.cloudwatch.record_metric(namespace, metric_name, value, unit, dimensions)
services.eventbridge._invoke_target(target, event, rule, view)
services.iam._IAM_HANDLERS: dict
services.iam._p(params, key, default)
services.lambda_svc._ACCOUNT_CONCURRENCY_CAP: int
services.lambda_svc._acquire_execution_slot(func, config)
services.lambda_svc._emit_lambda_metrics(function_name, duration_ms, error, throttle)
services.lambda_svc._release_execution_slot(key)
services.lambda_svc._resolve_name_and_qualifier(name_or_arn)
services.lambda_svc.execution_credentials(config)
services.lambda_svc.invoke_async_with_retry(func, event)
services.s3._bucket_owner_account(name)
services.s3._bucket_websites: AccountScopedDict
services.s3._verify_presigned_sigv4(method, path, headers, query_params)
services.scheduler._SCHEDULE_TICK_INTERVAL: int
services.tagging._RESOURCE_TAG_COLLECTORS: dict
""".strip().splitlines()  # noqa: E501, a name in each line

LOOK = """
import importlib, inspect, json, sys

def look(name):
    parts = name.split(".")
    module = 1 if parts[0] == "app" else 2
    found = importlib.import_module(".".join(["ministack", *parts[:module]]))
    for part in parts[module:]:
        found = getattr(found, part, None)
    if inspect.isroutine(found):
        return f"{name}({', '.join(inspect.signature(found).parameters)})"
    return f"{name}: {type(found).__name__}"

print(json.dumps([look(name) for name in json.loads(sys.argv[1])]))
"""


def test_ministack_still_has_what_we_rely_on():
    names = [re.match(r"[\w.]+", line)[0] for line in CONTRACTS]
    # In a process of its own: MiniStack changes the one that imports it.
    look = [sys.executable, "-c", LOOK, json.dumps(names)]
    done = subprocess.run(look, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == CONTRACTS


def test_all_that_the_emulator_takes_is_in_the_list():
    named = {re.sub(r"^(core|services)\.", "", re.match(r"[\w.]+", line)[0]) for line in CONTRACTS}
    used = set()
    for file in (ROOT / "chatlab" / "emulator").glob("*.py"):
        code = file.read_text()
        for modules in re.findall(r"^from ministack\.(?:core|services) import (.+)$", code, re.MULTILINE):
            used |= set(re.findall(rf"""(?<![\w."])(?:{modules.replace(", ", "|")})\.\w+""", code))
    assert len(used) > 40
    assert used <= named
