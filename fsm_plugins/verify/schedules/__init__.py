"""Calls at the same time (L4): every schedule of them, on the real code, judged by what the documentation allows."""

from fsm_plugins.verify.schedules.exploring import explore_schedules, replay
from fsm_plugins.verify.schedules.real_loop import sample_schedules
from fsm_plugins.verify.schedules.results import ScheduleFinding, ScheduleResult

__all__ = ["ScheduleFinding", "ScheduleResult", "explore_schedules", "replay", "sample_schedules"]
