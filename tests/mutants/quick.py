"""A pytest plugin for runs that are only to tell whether a test fails: no search for the smallest example."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings

settings.register_profile(
    "quick",
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    database=None,
    derandomize=True,
)
settings.load_profile("quick")
