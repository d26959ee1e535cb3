"""What property tests draw from."""

from hypothesis import strategies as st

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
"""JSON as Python has it, `nan` and `inf` included, which Python's own parser takes."""


def objects(**fields):
    """JSON objects that have all, some or none of these fields, each as it should be or as it should not."""
    return st.fixed_dictionaries({}, optional={name: good | ANY_JSON for name, good in fields.items()})
