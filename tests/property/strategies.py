"""The strategies of the property tests: how hooks behave, and what is done to a registry."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.property.model import BEHAVIOURS

names = st.sampled_from(["a", "b", "c", "d"])

# Most hooks are well-behaved, or else hardly any plugin would ever run.
behaviours = st.sampled_from([*["ok"] * 3 * len(BEHAVIOURS), *BEHAVIOURS])
hooks = st.fixed_dictionaries({"init": behaviours, "start": behaviours, "stop": behaviours})

# Steps that never add up to a deadline or a grace period exactly, so that nothing happens at the same time by accident.
delays = st.sampled_from([0.137, 0.811, 2.719, 7.393, 31.771])
