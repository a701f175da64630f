"""Steps that a program records for itself. What a step is, and how it is read and written, is in `observe.steps`."""

from __future__ import annotations

from fsm_plugins.lifecycle import TransitionEvent
from fsm_plugins.observe.steps import Step, StepLike, read_trace, step_of, steps_of, write_trace

__all__ = ["Recorder", "Step", "StepLike", "read_trace", "steps_of", "write_trace"]


class Recorder:
    """Collects steps. It is a listener: ``registry.subscribe(recorder)``.

    >>> recorder = Recorder()
    >>> recorder.refused("clock", "start", "created")
    >>> recorder.steps[0].dest is None
    True
    """

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def __call__(self, event: TransitionEvent) -> None:
        self.steps.append(step_of(event))

    def refused(self, plugin: str, trigger: str, state: str) -> None:
        """Note that ``trigger`` was refused in ``state``; a refusal makes no event."""
        self.steps.append(Step(plugin, trigger, str(state), None))

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """Return the picture for a notebook."""
        # What draws knows this module.
        from fsm_plugins.diagrams.notebook import mimebundle

        return mimebundle(self)
