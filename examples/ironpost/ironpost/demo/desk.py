"""A plugin between those who find something and the one who acts: it keeps the alerts, to show them."""

from __future__ import annotations

from attrs import define, field

from fsm_plugins import Plugin, PluginInfo, Receiver, Sender
from ironpost.events import AlertEvent

__all__ = ["Desk"]


@define
class Desk(Plugin):
    """Hands alerts on, and keeps them.

    Attributes:
        found: alerts come from here.
        alerts: and go there.
        seen: those that were handed on.
    """

    info = PluginInfo("desk", "0.1.0", "Keeps the alerts that pass, to show them")

    found: Receiver[AlertEvent]
    alerts: Sender[AlertEvent]
    seen: list[AlertEvent] = field(factory=list, init=False)

    async def on_start(self) -> None:
        self.spawn(self._work())

    async def _work(self) -> None:
        async for alert in self.found:
            await self.alerts.send(alert)
            self.seen.append(alert)
        self.alerts.close()
