"""State machines that know the lifecycle: the same states and arcs, read from the table, and a hook that start runs.

Each contender builds its machine for one hook, and then objects in the state ``created``. What it promises beside
speed differs, so `observed` runs the cases that matter and tells in one line what came of them; nobody's word is taken.
"""

from __future__ import annotations

import asyncio
import types
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Final, Protocol, cast

from transitions import Machine, MachineError
from transitions.extensions.asyncio import AsyncMachine

from benchmarks._results import Role
from benchmarks.peers import installed
from benchmarks.peers.by_hand import ByHand, ByHandPlainly, Ours, Refused
from fsm_plugins import LIFECYCLE, InvalidState

__all__ = ["DISTRIBUTIONS", "Contender", "contenders", "observed"]

DISTRIBUTIONS: Final = ("python-statemachine", "automat", "xstate-statemachine")

STATES: Final = tuple(str(state) for state in LIFECYCLE.states)
ARCS: Final = tuple((arc.trigger, str(arc.source), str(arc.dest)) for arc in LIFECYCLE.arcs)
TRIGGERS: Final = tuple(dict.fromkeys(trigger for trigger, _, _ in ARCS))
HOOKED: Final = "start"
"""The trigger that is measured; the others have no hook."""

Hook = Callable[[], Any]


class Contender(ABC):
    """One way to make a plugin's moves.

    Attributes:
        name, role: as in a table.
        asynchronous: whether its triggers are awaited, and so its hook can wait.
        refusal: what an illegal move raises; None if it is ignored.
        calls: how many moves one measurement is made of; fewer where an object takes long to make.
    """

    name: ClassVar[str]
    role: ClassVar[Role] = Role.PEER
    asynchronous: ClassVar[bool] = True
    refusal: ClassVar[type[Exception] | None]
    calls: ClassVar[int] = 500

    @abstractmethod
    def __init__(self, hook: Hook) -> None:
        """Build what all objects share; ``hook`` is asynchronous if the contender is."""

    @abstractmethod
    def new(self) -> Any:
        """Return an object in the state ``created``."""

    def call(self, each: Any, trigger: str) -> Callable[[], Any]:
        """Return what fires ``trigger``."""
        return cast("Callable[[], Any]", getattr(each, trigger))

    def state(self, each: Any) -> str:
        """Return the state it is in."""
        return str(each.state)

    async def open(self, each: Any) -> None:  # noqa: B027
        """Do what is needed before the first trigger, and is no trigger itself. Most need nothing."""

    async def close(self, each: Any) -> None:  # noqa: B027
        """Release what `open` took."""

    async def fire(self, each: Any, trigger: str) -> object:
        """Fire ``trigger`` while nobody measures."""
        answer = self.call(each, trigger)()
        return await answer if self.asynchronous else answer


def _hooks(hook: Hook, *, asynchronous: bool) -> dict[str, Any]:
    """Return the namespace of a class whose method ``on_start`` is ``hook``."""
    if not asynchronous:
        return {"on_start": lambda self: hook()}

    async def on_start(self: object) -> None:
        await hook()

    return {"on_start": on_start}


class _Ours(Contender):
    name = "fsm_plugins"
    role = Role.OURS
    refusal = InvalidState
    calls = 2_000

    def __init__(self, hook: Hook) -> None:
        self._class: Any = type("Measured", (Ours,), {"__slots__": (), **_hooks(hook, asynchronous=True)})

    def new(self) -> Any:
        return self._class()


class _ByHand(Contender):
    name = "by hand"
    role = Role.LIMIT
    refusal = Refused
    calls = 2_000
    base: ClassVar[type[ByHand]] = ByHand

    def __init__(self, hook: Hook) -> None:
        self._class: Any = type("Measured", (self.base,), {"__slots__": (), **_hooks(hook, asynchronous=True)})

    def new(self) -> Any:
        return self._class("by-hand")


class _ByHandPlainly(_ByHand):
    name = "by hand, a timer for every hook"
    role = Role.OTHER
    base = ByHandPlainly


# transitions ----------------------------------------------------------------------------------------------------------


def _moves() -> list[dict[str, Any]]:
    return [
        {"trigger": trigger, "source": source, "dest": dest, "before": "on_start" if trigger == HOOKED else None}
        for trigger, source, dest in ARCS
    ]


class _Transitions(Contender):
    name = "transitions, a Machine for each object"
    asynchronous = False
    refusal = MachineError
    calls = 200
    machine: ClassVar[Any] = Machine

    def __init__(self, hook: Hook) -> None:
        self._class: Any = type("Model", (), _hooks(hook, asynchronous=self.asynchronous))

    def new(self) -> Any:
        model = self._class()
        self.machine(model, states=list(STATES), initial=str(LIFECYCLE.initial), transitions=_moves())
        return model


class _TransitionsShared(_Transitions):
    name = "transitions, one Machine for all (add_model)"
    calls = 500

    def __init__(self, hook: Hook) -> None:
        super().__init__(hook)
        initial = str(LIFECYCLE.initial)
        self._machine = Machine(model=None, states=list(STATES), initial=initial, transitions=_moves())

    def new(self) -> Any:
        model = self._class()
        self._machine.add_model(model)
        return model


class _AsyncTransitions(_Transitions):
    name = "transitions, AsyncMachine"
    asynchronous = True
    machine = AsyncMachine


# python-statemachine --------------------------------------------------------------------------------------------------


class _StateMachine(Contender):
    name = "python-statemachine"
    asynchronous = False

    def __init__(self, hook: Hook) -> None:
        library = installed("statemachine")
        final = {str(state) for state in LIFECYCLE.final}
        states = {each: library.State(initial=each == LIFECYCLE.initial, final=each in final) for each in STATES}
        events: dict[str, Any] = {}
        for trigger, source, dest in ARCS:
            arc = states[source].to(states[dest])
            events[trigger] = events[trigger] | arc if trigger in events else arc
        base: Any = library.StateMachine
        self._class: Any = type(base)(
            "Model", (base,), {**states, **events, **_hooks(hook, asynchronous=self.asynchronous)}
        )

    def new(self) -> Any:
        return self._class()

    def state(self, each: Any) -> str:
        (state,) = each.configuration
        return str(state.id)


class _AsyncStateMachine(_StateMachine):
    name = "python-statemachine, asynchronous"
    asynchronous = True

    async def open(self, each: Any) -> None:
        await each.activate_initial_state()


# Automat --------------------------------------------------------------------------------------------------------------


def _input(name: str, owner: str) -> Callable[..., None]:
    def method(self: object) -> None:
        """Automat takes the name and the signature."""

    method.__name__, method.__qualname__ = name, f"{owner}.{name}"
    return method


class _Automat(Contender):
    name = "Automat, TypeMachineBuilder"
    asynchronous = False
    calls = 1_000

    def __init__(self, hook: Hook) -> None:
        library = installed("automat")
        moves: Any = types.new_class(
            "Moves",
            (Protocol,),
            exec_body=lambda space: space.update({each: _input(each, "Moves") for each in TRIGGERS}),
        )
        self._core = type("Core", (), _hooks(hook, asynchronous=False))
        builder = library.TypeMachineBuilder(moves, self._core)
        # The first state is the one that it begins in.
        states = {each: builder.state(each) for each in sorted(STATES, key=lambda each: each != LIFECYCLE.initial)}

        def on_start(_moves: Any, core: Any) -> None:
            core.on_start()

        for trigger, source, dest in ARCS:
            arc = states[source].upon(getattr(moves, trigger)).to(states[dest])
            if trigger == HOOKED:
                arc(on_start)
            else:
                arc.returns(None)
        self._build = builder.build()

    def new(self) -> Any:
        return self._build(self._core())

    def state(self, each: Any) -> str:
        # It keeps its state to itself; only what checks the benchmark looks.
        return str(each.__automat_transitioner__._state.name)


class _MethodicalAutomat(Contender):
    name = "Automat, MethodicalMachine"
    asynchronous = False
    calls = 1_000

    def __init__(self, hook: Hook) -> None:
        machine = installed("automat").MethodicalMachine()
        final = {str(state) for state in LIFECYCLE.final}
        states = {
            each: machine.state(serialized=each, initial=each == LIFECYCLE.initial, terminal=each in final)(
                _input(each, "Model")
            )
            for each in STATES
        }
        inputs = {each: machine.input()(_input(each, "Model")) for each in TRIGGERS}

        def on_start(self: object) -> None:
            hook()

        output = machine.output()(on_start)
        for trigger, source, dest in ARCS:
            outputs = [output] if trigger == HOOKED else []
            states[source].upon(inputs[trigger], enter=states[dest], outputs=outputs)

        def now(self: object, state: str) -> str:
            return state

        space = {**inputs, "machine": machine, "on_start": output, "now": machine.serializer()(now)}
        self._class: Any = type("Model", (), space)

    def new(self) -> Any:
        return self._class()

    def state(self, each: Any) -> str:
        return str(each.now())


# xstate-statemachine --------------------------------------------------------------------------------------------------


class _XState(Contender):
    name = "xstate-statemachine"
    asynchronous = False
    refusal = None
    calls = 200

    def __init__(self, hook: Hook) -> None:
        library = self._library = installed("xstate_statemachine")
        states: dict[str, Any] = {each: {"on": {}} for each in STATES}
        for trigger, source, dest in ARCS:
            states[source]["on"][trigger] = {"target": dest, "actions": ["on_start"] if trigger == HOOKED else []}

        def on_start(_interpreter: Any, _context: Any, _event: Any, _action: Any) -> None:
            hook()

        async def on_start_later(_interpreter: Any, _context: Any, _event: Any, _action: Any) -> None:
            await hook()

        actions = {"on_start": on_start_later if self.asynchronous else on_start}
        self._machine = library.create_machine(
            {"id": "plugin", "initial": str(LIFECYCLE.initial), "states": states},
            logic=library.MachineLogic(actions=actions),
        )

    def new(self) -> Any:
        return self._library.SyncInterpreter(self._machine).start()

    def call(self, each: Any, trigger: str) -> Callable[[], Any]:
        return lambda: each.send(trigger)

    def state(self, each: Any) -> str:
        return "+".join(sorted(name.rpartition(".")[2] for name in each.current_state_ids)) or "none"

    async def close(self, each: Any) -> None:
        each.stop()


class _AsyncXState(_XState):
    name = "xstate-statemachine, asynchronous"
    asynchronous = True

    def new(self) -> Any:
        return self._library.Interpreter(self._machine)

    async def open(self, each: Any) -> None:
        await each.start()

    def call(self, each: Any, trigger: str) -> Callable[[], Any]:
        return lambda: each.send(trigger, wait=True)

    async def close(self, each: Any) -> None:
        await each.stop()


def contenders() -> Iterator[type[Contender]]:
    """Yield those that are installed, ours first."""
    yield from (_Ours, _ByHand, _ByHandPlainly, _TransitionsShared, _Transitions, _AsyncTransitions)
    if (library := installed("statemachine")) is not None:
        for machine in (_StateMachine, _AsyncStateMachine):
            machine.refusal = library.exceptions.TransitionNotAllowed
            yield machine
    if (library := installed("automat")) is not None:
        for automaton in (_Automat, _MethodicalAutomat):
            automaton.refusal = library.NoTransition
            yield automaton
    if installed("xstate_statemachine") is not None:
        yield from (_XState, _AsyncXState)


# What they promise ----------------------------------------------------------------------------------------------------


async def observed(kind: type[Contender]) -> str:
    """Return what came of an illegal move, a hook that raised, one that was late, and a second call meanwhile."""
    told = [await _illegal(kind), await _raising(kind)]
    if kind.asynchronous:
        told += [await _late(kind), await _twice(kind)]
    else:
        told.append("the hook cannot wait")
    return "; ".join(told)


async def _ready(kind: type[Contender], hook: Hook) -> tuple[Contender, Any]:
    contender = kind(hook)
    each = contender.new()
    await contender.open(each)
    await contender.fire(each, "init")
    assert contender.state(each) == "initialized"
    return contender, each


def _answer(outcome: object) -> str:
    """Name what a caller got."""
    if isinstance(outcome, BaseException):
        return type(outcome).__name__
    problem = getattr(outcome, "error", None)  # of a receipt
    if problem is not None:
        return f"no exception, a receipt with {type(problem).__name__}"
    return "no exception" if outcome is None or not isinstance(outcome, bool) else f"no exception, {outcome}"


async def _outcome(contender: Contender, each: Any) -> object:
    try:
        return await contender.fire(each, HOOKED)
    except (Exception, asyncio.CancelledError) as error:
        return error


async def _illegal(kind: type[Contender]) -> str:
    async def later() -> None:
        raise AssertionError("an illegal move ran the hook")

    def now() -> None:
        raise AssertionError("an illegal move ran the hook")

    contender = kind(later if kind.asynchronous else now)
    each = contender.new()
    await contender.open(each)
    answer = await _outcome(contender, each)
    await contender.close(each)
    assert type(answer) is kind.refusal if kind.refusal is not None else not isinstance(answer, BaseException)
    return "an illegal move is ignored" if kind.refusal is None else f"an illegal move raises {_answer(answer)}"


async def _raising(kind: type[Contender]) -> str:
    def now() -> None:
        raise OSError("port 80 is taken")

    async def later() -> None:
        now()

    contender, each = await _ready(kind, later if kind.asynchronous else now)
    answer = await _outcome(contender, each)
    state = contender.state(each)
    await contender.close(each)
    return f"a hook that raises OSError gives its caller {_answer(answer)} and leaves {state}"


async def _late(kind: type[Contender]) -> str:
    async def hangs() -> None:
        await asyncio.sleep(3600)

    contender, each = await _ready(kind, hangs)
    answer: object
    try:
        async with asyncio.timeout(0.02):
            answer = await contender.fire(each, HOOKED)
    except TimeoutError as error:
        answer = error
    state = contender.state(each)
    await contender.close(each)
    return f"under asyncio.timeout a hook that hangs gives {_answer(answer)} and leaves {state}"


async def _twice(kind: type[Contender]) -> str:
    begun = 0

    async def hangs() -> None:
        nonlocal begun
        begun += 1
        await asyncio.sleep(3600)

    contender, each = await _ready(kind, hangs)
    calls = []
    for _ in range(2):
        calls.append(asyncio.ensure_future(contender.fire(each, HOOKED)))
        for _ in range(20):
            await asyncio.sleep(0)
    first, second = calls
    if first.done():
        told = f"a second call cancels the first, whose caller gets {_answer(first.result())}"
    elif second.done():
        told = f"a second call raises {_answer(second.exception())}"
    else:
        told = "a second call runs the hook as well" if begun > 1 else "a second call waits for the first"
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    await contender.close(each)
    return told
