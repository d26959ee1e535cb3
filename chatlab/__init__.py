"""What the lab's notebooks share: the lab itself, the local cloud, the inventory, and running the notebooks in order.

The AWS calls that a learner came to see are in the notebooks, not here.
"""

from chatlab.errors import LabError
from chatlab.inventory import list_resources
from chatlab.lab import Lab
from chatlab.polling import poll
from chatlab.privacy import redact_kernel_output

__all__ = ["Lab", "LabError", "list_resources", "poll"]

redact_kernel_output()  # so that a notebook can be shared with its outputs
