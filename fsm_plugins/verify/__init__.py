"""Point it at a plugin, and get a proof within a stated scope, or the shortest counterexample.

`verify` tries a plugin in every way there is within a `Scope`, and gives a `Report`. `replay` does one thing again.
"""

from fsm_plugins.verify.base.script import BadToken
from fsm_plugins.verify.base.sometime import sometimes
from fsm_plugins.verify.base.targets import CannotVerify
from fsm_plugins.verify.conformance import Departure, Monitor, conform
from fsm_plugins.verify.reports.codes import CHECKS, Check, find_check
from fsm_plugins.verify.reports.report import Counterexample, Coverage, Finding, Report, Scope
from fsm_plugins.verify.verifying import replay, verify

__all__ = [
    "CHECKS",
    "BadToken",
    "CannotVerify",
    "Check",
    "Counterexample",
    "Coverage",
    "Departure",
    "Finding",
    "Monitor",
    "Report",
    "Scope",
    "conform",
    "find_check",
    "replay",
    "sometimes",
    "verify",
]
