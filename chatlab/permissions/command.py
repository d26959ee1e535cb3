"""Renew `docs/aws-policy.json`, for a lab called `chat`: `python -m chatlab permissions`; or print a NAME's."""

import sys
from collections.abc import Sequence

from chatlab import permissions
from chatlab.errors import LabError
from chatlab.settings import Settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the policy of a lab called `chat` into docs/, or print that of another lab; the exit status."""
    names = sys.argv[1:] if arguments is None else arguments
    if len(names) > 1:
        raise LabError("You can give one lab's NAME: python -m chatlab permissions NAME")
    if names:
        print(permissions.to_text(permissions.policy(Settings(name=names[0]).name)), end="")
    else:
        permissions.POLICY.write_text(permissions.to_text(permissions.policy()))
    return 0
