"""OpenTelemetry spans, one for each move of a plugin. Never one for a message: even a span that nobody records costs
several microseconds.

A span is made when the move is done, with the times that it had. So it covers exactly the guarded call, hook and end of
workers included, and costs the call nothing. Spans that a hook makes itself are not below it.
"""

from __future__ import annotations

from fsm_plugins.guard import describe
from fsm_plugins.lifecycle import TransitionEvent

try:
    from opentelemetry import trace
    from opentelemetry.trace import SpanKind, Status, StatusCode, TracerProvider
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"{error.msg}; spans need: pip install 'fsm-plugins[tracing]'") from None

__all__ = ["Tracing"]


class Tracing:
    """Makes a span ``PLUGIN.TRIGGER`` of every transition. It is a listener: ``registry.subscribe(Tracing())``.

    The attributes are ``fsm_plugins.plugin``, ``.trigger``, ``.source`` and ``.dest``. A failure has the status
    ``ERROR``, with the exception as an event.

    Args:
        provider: where the spans go; the global provider unless given.
    """

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("fsm_plugins", tracer_provider=provider)

    def __call__(self, event: TransitionEvent) -> None:
        """Make a span of a transition."""
        end = round(event.at * 1e9)
        span = self._tracer.start_span(
            f"{event.plugin}.{event.trigger}",
            kind=SpanKind.INTERNAL,
            attributes={f"fsm_plugins.{key}": str(getattr(event, key)) for key in _ATTRIBUTES},
            start_time=end - round(event.duration * 1e9),
        )
        if event.cause is not None:
            span.record_exception(event.cause, timestamp=end)
            span.set_status(Status(StatusCode.ERROR, describe(event.cause)))
        span.end(end_time=end)


_ATTRIBUTES = ("plugin", "trigger", "source", "dest")
