"""AWS as an application: the emulator, and around it, from the inside out, what AWS has and the emulator has not."""

import os

import buffers
import frames
import invocations
import routes
import stage_limits
from account_block import with_account_block
from authorization import with_what_aws_asks
from keys import let_no_function_have_keys_that_can_be_guessed, with_a_key
from metrics import LATE_S, with_metrics
from quotas import CONCURRENCY, with_quotas
from recorder import recording
from refusals import answering, hide_what_failing_functions_say
from simulator import with_conditions
from stages import let_nobody_in_without_a_stage, let_schedules_delete_stages
from temper import Concurrency, chosen, with_traits


def cloud(key_file, traits):
    """The ASGI application. It keeps the person's key in a file; `traits` as in `temper.chosen`.

    The person has the policy in the file that `CHATLAB_POLICY` names, or else is an administrator. What they ask for is
    written into the file that `CHATLAB_RECORD` names.
    """
    let_no_function_have_keys_that_can_be_guessed()
    let_schedules_delete_stages()
    let_nobody_in_without_a_stage()
    routes.select_as_api_gateway()
    buffers.bound()
    hide_what_failing_functions_say()
    with_conditions()
    app = with_a_key(key_file, os.environ.get("CHATLAB_POLICY"))
    meant = chosen(traits)
    at_once = int(meant["concurrency"] or Concurrency.AT_ONCE) if "concurrency" in meant else None
    app = with_quotas(with_account_block(app), at_once or CONCURRENCY)
    late_s = meant.get("late-metrics", 0.0)  # None: as late as usual
    app = with_metrics(app, LATE_S if late_s is None else late_s)
    if at_once:
        invocations.limit(at_once)
    if "stage-limits" in meant:
        stage_limits.enforce()
    app = with_traits(frames.text_only(answering(app)), traits)
    return with_what_aws_asks(app, recording(os.environ.get("CHATLAB_RECORD")))
