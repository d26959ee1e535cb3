"""What AWS does and the emulator does not, trait by trait: docs/rehearsal.md has the table.

Each trait is a class that looks at calls as AWS sees them, in the module of what it plays: latency, throttling,
eventual consistency, faults, public access, prices. Nothing here knows the lab or the emulator.
"""

from chatlab.emulator.traits.catalog import NOT_IN_ALL, TRAITS, parse_traits
from chatlab.emulator.traits.middleware import with_traits

__all__ = ["NOT_IN_ALL", "TRAITS", "parse_traits", "with_traits"]
