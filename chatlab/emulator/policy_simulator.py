"""IAM's policy simulator: what the emulator's own leaves out, which is what a policy's conditions ask about."""

import re
from dataclasses import replace
from typing import Any

from ministack.core import iam_evaluator
from ministack.services import iam

ENTRY = re.compile(r"ContextEntries\.member\.(\d+)\.ContextKeyName")


def simulate_conditions() -> None:
    """Let the simulator take `ContextEntries`: https://docs.aws.amazon.com/IAM/latest/APIReference/API_ContextEntry.html"""
    simulate, evaluate = iam._IAM_HANDLERS["SimulatePrincipalPolicy"], iam_evaluator.evaluate

    def simulate_with_conditions(parameters: dict[str, Any]) -> Any:
        entries: dict[str, str] = {}
        for name in parameters:
            if found := ENTRY.fullmatch(name):
                value = f"ContextEntries.member.{found[1]}.ContextKeyValues.member.1"
                entries[iam._p(parameters, name).lower()] = iam._p(parameters, value)
        iam_evaluator.evaluate = lambda context, *rest: evaluate(replace(context, service_context=entries), *rest)
        try:
            return simulate(parameters)
        finally:
            iam_evaluator.evaluate = evaluate

    iam._IAM_HANDLERS["SimulatePrincipalPolicy"] = simulate_with_conditions
