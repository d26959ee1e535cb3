"""AWS as an ASGI application: the emulator, and around it, from the inside out, what the emulator has not."""

import os
from pathlib import Path

from chatlab.emulator.access_keys import draw_function_keys_at_random, with_access_key
from chatlab.emulator.asgi import App
from chatlab.emulator.authorization import with_aws_authorization
from chatlab.emulator.block_public_access import with_account_settings
from chatlab.emulator.closed_connections import notice_closed_connections_at_once
from chatlab.emulator.concurrency import limit_concurrency
from chatlab.emulator.frames import text_only
from chatlab.emulator.metrics import with_metrics
from chatlab.emulator.policy_simulator import simulate_conditions
from chatlab.emulator.quotas import CONCURRENCY, with_quotas
from chatlab.emulator.recorder import permission_recorder
from chatlab.emulator.route_errors import hide_function_errors, with_refused_handshakes
from chatlab.emulator.route_selection import select_routes_as_api_gateway
from chatlab.emulator.send_buffers import limit_send_buffers
from chatlab.emulator.stage_limits import enforce_stage_limits
from chatlab.emulator.stages import let_schedules_delete_stages, refuse_handshakes_without_a_stage
from chatlab.emulator.traits import parse_traits, with_traits
from chatlab.emulator.traits.eventual_consistency import LateMetrics
from chatlab.emulator.traits.throttling import Concurrency


def cloud(key_file: Path, traits: str) -> App:
    """The application. It writes the person's access key into a file; `traits` as `parse_traits` reads it.

    The person has the policy in the file that `CHATLAB_POLICY` names, or else is an administrator. Which permissions
    their calls need is written into the file that `CHATLAB_RECORD` names.
    """
    draw_function_keys_at_random()
    let_schedules_delete_stages()
    refuse_handshakes_without_a_stage()
    select_routes_as_api_gateway()
    limit_send_buffers()
    notice_closed_connections_at_once()
    hide_function_errors()
    simulate_conditions()
    chosen = parse_traits(traits)
    max_invocations = CONCURRENCY
    if "concurrency" in chosen:
        max_invocations = int(chosen["concurrency"] or Concurrency.MAX_INVOCATIONS)
        limit_concurrency(max_invocations)
    if "stage-limits" in chosen:
        enforce_stage_limits()
    metrics_delay_s = chosen.get("late-metrics", 0.0)
    app = with_access_key(key_file, os.environ.get("CHATLAB_POLICY"))
    app = with_quotas(with_account_settings(app), max_invocations)
    app = with_metrics(app, LateMetrics.DELAY_S if metrics_delay_s is None else metrics_delay_s)
    app = with_traits(text_only(with_refused_handshakes(app)), traits)
    return with_aws_authorization(app, permission_recorder(os.environ.get("CHATLAB_RECORD")))
