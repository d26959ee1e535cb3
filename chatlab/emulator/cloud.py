"""AWS as an application: the emulator, and around it, from the inside out, what AWS has and the emulator has not."""

import os

import frames
from account_block import with_account_block
from authorization import with_what_aws_asks
from keys import let_no_function_have_keys_that_can_be_guessed, with_a_key
from metrics import LATE_S, with_metrics
from quotas import with_quotas
from recorder import recording
from simulator import with_conditions
from stages import let_nobody_in_without_a_stage, let_schedules_delete_stages
from temper import chosen, with_traits


def cloud(key_file, traits):
    """The ASGI application. It keeps the person's key in a file; `traits` as in `temper.chosen`.

    The person has the policy in the file that `CHATLAB_POLICY` names, or else is an administrator. What they ask for is
    written into the file that `CHATLAB_RECORD` names.
    """
    let_no_function_have_keys_that_can_be_guessed()
    let_schedules_delete_stages()
    let_nobody_in_without_a_stage()
    with_conditions()
    app = with_a_key(key_file, os.environ.get("CHATLAB_POLICY"))
    app = with_metrics(with_quotas(with_account_block(app)), LATE_S if "late-metrics" in chosen(traits) else 0)
    app = with_traits(frames.text_only(app), traits)
    return with_what_aws_asks(app, recording(os.environ.get("CHATLAB_RECORD")))
