"""What the lab's notebooks share: the lab itself, the local cloud, the inventory, and running the notebooks in order.

The AWS calls that a learner came to see are in the notebooks, not here.
"""

from chatlab.errors import LabError
from chatlab.inventory import inventory
from chatlab.lab import Lab
from chatlab.polling import poll
from chatlab.privacy import mask_kernel

__all__ = ["Lab", "LabError", "inventory", "poll"]

mask_kernel()  # so that a notebook can be shared with its outputs
