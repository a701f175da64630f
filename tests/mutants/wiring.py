"""Deliberate breakages of the ports, the plan and the orchestrator, each of which some test has to notice.

A mutant is a name, a file, the snippet to be replaced (which occurs there exactly once), and what replaces it.
"""

from __future__ import annotations

_TYPES = "fsm_plugins/message_types.py"
_PORTS = "fsm_plugins/ports.py"
_PLANNING = "fsm_plugins/planning.py"
_ORCHESTRATOR = "fsm_plugins/orchestrator.py"
_RECEIPTS = "fsm_plugins/receipts.py"
_REGISTRY = "fsm_plugins/registry.py"

MUTANTS: list[tuple[str, str, str, str]] = [
    (
        "one member of a producer's union is enough",
        _TYPES,
        "return all(accepts(consumer, member) for member in get_args(producer))",
        "return any(accepts(consumer, member) for member in get_args(producer))",
    ),
    (
        "a base class is accepted for its subclass",
        _TYPES,
        "if not issubclass(sent, wanted):",
        "if not (issubclass(sent, wanted) or issubclass(wanted, sent)):",
    ),
    (
        "what a subclass puts in for a type variable is not handed on to the next base",
        _TYPES,
        "values = (substitute(argument, known) for argument in get_args(base))",
        "values = iter(get_args(base))",
    ),
    (
        "ports come with those of the subclass first",
        _PORTS,
        "for base in reversed(cls.__mro__):",
        "for base in cls.__mro__:",
    ),
    (
        "an attrs field is wired by its private name",
        _PORTS,
        "            return str(attribute.alias)\n",
        "            return field\n",
    ),
    (
        "the setting of a type that cannot be resolved is an error",
        _PORTS,
        "        if not _looks_like_port(annotation, names):\n            return None\n",
        "",
    ),
    (
        "ties go to the last one given",
        _PLANNING,
        "heapq.heappush(ready, (rank[name], name))",
        "heapq.heappush(ready, (-rank[name], name))",
    ),
    (
        "only the first cycle is told",
        _PLANNING,
        "                before[cycle[0]] = [name for name in before[cycle[0]] if name != cycle[-1]]\n",
        "                before = {name: [] for name in names}\n",
    ),
    (
        "a second consumer is overlooked",
        _PLANNING,
        "if len(link.consumers) > 1:",
        "if len(link.consumers) > 2:",
    ),
    (
        "a port that lost its other end is wired all the same",
        _PLANNING,
        "            self.ports[end.plugin][end.port] = None\n",
        "            pass\n",
    ),
    (
        "an explicit channel that does not exist is forgiven for optional ports",
        _PLANNING,
        "elif spec.enabled and (port.name in table or not port.optional):",
        "elif spec.enabled and not port.optional:",
    ),
    (
        "the first broken factory ends the build",
        _ORCHESTRATOR,
        "                    problems += error.problems\n",
        "                    raise\n",
    ),
    (
        "a failed build leaves its plugins registered",
        _ORCHESTRATOR,
        "                registry.unregister(plugin.info.name)\n",
        "                pass\n",
    ),
    (
        "a failed build leaves handles open",
        _ORCHESTRATOR,
        "            for name in self._members:\n                self._let_go(name)\n",
        "",
    ),
    (
        "a factory that returns one plugin twice is not noticed",
        _ORCHESTRATOR,
        "if plugin._guard.hub is not None or plugin.state != plugin.lifecycle.initial:",
        "if plugin.state != plugin.lifecycle.initial:",
    ),
    (
        "a producer at rest keeps its channels open",
        _ORCHESTRATOR,
        "if not member.held and member.handles and all(handle.closed for handle in member.handles):",
        "if False:",
    ),
    (
        "a producer that failed in its stop keeps its channels open",
        _ORCHESTRATOR,
        "if not member.held and member.handles and all(",
        "if not member.held and event.trigger == 'stop' and all(",
    ),
    (
        "a held plugin loses its channels",
        _ORCHESTRATOR,
        "if not member.held and member.handles",
        "if member.handles",
    ),
    (
        "one producer that is gone ends the channel for all",
        _ORCHESTRATOR,
        "if all(self._is_gone(end.plugin) for end in planned.producers):",
        "if any(self._is_gone(end.plugin) for end in planned.producers):",
    ),
    (
        "a producer that stop_all is through with keeps its channels open",
        _ORCHESTRATOR,
        "            self._let_go(plugin.info.name)\n",
        "",
    ),
    (
        "stop_all tells its owner only of what went well",
        _REGISTRY,
        "if self._on_attempted is not None:",
        "if self._on_attempted is not None and len(walk.problems) == known:",
    ),
    (
        "a failure before the stop is not in the receipt",
        _RECEIPTS,
        "if plugin.failure is not None and not (",
        "if plugin.failure is not None and False and not (",
    ),
]
