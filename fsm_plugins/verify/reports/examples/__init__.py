"""For each check a plugin that breaks it, and one that does not: what ``explain`` shows, and what the tests run.

They leave out the imports: ``asyncio`` and other modules of the standard library, and names of ``fsm_plugins``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from fsm_plugins.verify.reports.examples.of_faults import OF_FAULTS
from fsm_plugins.verify.reports.examples.of_leaks import OF_LEAKS
from fsm_plugins.verify.reports.examples.of_runs import OF_RUNS
from fsm_plugins.verify.reports.examples.of_several import OF_SEVERAL

__all__ = ["EXAMPLES"]

EXAMPLES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType({**OF_RUNS, **OF_LEAKS, **OF_FAULTS, **OF_SEVERAL})
"""By slug: the bad one, the good one."""
