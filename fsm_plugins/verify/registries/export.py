"""A registry of plugins of one lifecycle, written down for other model checkers: Promela for SPIN, and TLA+.

Both texts are made from the table. They say what `SequentialModel` says, one call at a time, in the words of the other
tool, so that a tool that shares nothing with this package can count the states and check the promise of ``stop_all``:
every plugin can be stopped, and those whose hooks do not break are at rest afterwards.

With ``symmetric`` the plugins have no names, so a state is the sequence of their states; otherwise each slot also has
the number of its plugin.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from fsm_plugins.errors import DefinitionError
from fsm_plugins.lifecycle import FAIL, INIT, LIFECYCLE, START, STOP, Lifecycle, State

__all__ = ["to_promela", "to_tla"]

_WALKS: Final = (INIT, START)


def _check(lifecycle: Lifecycle, plugins: int) -> None:
    words = [_word(word) for words in (lifecycle.states, lifecycle.triggers) for word in words]
    for state in lifecycle.states:
        if words.count(_word(state)) > 1 or not _word(state).isascii():
            raise DefinitionError(f"state {str(state)!r} cannot be told from others in Promela and TLA+; rename it")
    if not 1 <= plugins <= 200:
        raise DefinitionError(f"a registry is written down for 1 to 200 plugins, not {plugins}")


def _word(text: str) -> str:
    """Return a name that both languages accept."""
    return re.sub(r"\W", "_", text)


# Promela.


def to_promela(lifecycle: Lifecycle = LIFECYCLE, *, plugins: int = 3, symmetric: bool = True) -> str:
    """Return a Promela model of a registry, for SPIN 6.

    Every call is one step of the model, with every choice of at most one hook that breaks. ``spin -a``, a C compiler
    and ``./pan`` then visit as many states as `fsm_plugins.verify.registries.space.expected_states` says, and check the
    assertions. From six plugins on, give ``./pan`` a greater depth with ``-m``.

    Args:
        lifecycle: of the plugins.
        plugins: at most how many are registered.
        symmetric: whether plugins have no names.

    Raises:
        DefinitionError: ``plugins`` is not between 1 and 200, or two states would have the same name there.

    >>> print(to_promela(plugins=2).splitlines()[0])
    /* A registry of at most 2 plugins. Made from the transition table; do not edit. */
    """
    _check(lifecycle, plugins)
    lines = [
        f"/* A registry of at most {plugins} plugins. Made from the transition table; do not edit. */",
        f"#define N {plugins}",
        *(f"#define {_state(state)} {number}" for number, state in enumerate(lifecycle.states)),
        "",
        "byte count;        /* how many are registered */",
        "byte at[N];        /* their states, in the order of registration */",
    ]
    if not symmetric:
        lines += ["byte who[N];       /* their names */", "bool known[N];     /* which names are taken */"]
    lines += [
        "byte i; byte was; bool on;   /* used within a step, and 0 between steps */",
        "",
        "/* Put into was where a trigger leads from the state of slot i; on says whether it is legal. */",
    ]
    for trigger in lifecycle.triggers:
        lines += _dispatch(lifecycle, trigger)
    lines += ["", "active proctype registry() {", "  do"]
    lines += _register(symmetric, plugins)
    for k in range(plugins):
        lines += _unregister(k, symmetric)
        for trigger in lifecycle.triggers:
            lines += _one(trigger, k)
    for trigger in _WALKS:
        if trigger in lifecycle.triggers:
            lines += _walk(trigger, plugins)
    lines += _stop_all(lifecycle, plugins)
    lines += ["  od", "}", ""]
    return "\n".join(lines)


def _state(state: State) -> str:
    return f"AT_{_word(state)}"


def _move(trigger: str) -> str:
    return f"look_{_word(trigger)}()"


def _dispatch(lifecycle: Lifecycle, trigger: str) -> Iterator[str]:
    yield f"inline {_move(trigger)} {{"
    yield "  on = true;"
    yield "  if"
    for arc in lifecycle.arcs:
        if arc.trigger == trigger:
            yield f"  :: at[i] == {_state(arc.source)} -> was = {_state(arc.dest)}"
    yield "  :: else -> on = false"
    yield "  fi"
    yield "}"


def _step(guard: str, lines: Iterable[str], comment: str) -> Iterator[str]:
    """Write a call that is one step; what it uses on the way is put back, so that it is no part of a state."""
    yield f"  :: d_step {{ {guard} -> /* {comment} */"
    for line in lines:
        yield f"      {line}"
    yield "      i = 0; on = false; was = 0"
    yield "    }"


def _register(symmetric: bool, plugins: int) -> Iterator[str]:
    if symmetric:
        yield from _step("count < N", ["at[count] = 0; count++;"], "register")
        return
    for name in range(plugins):
        lines = [f"known[{name}] = true; who[count] = {name}; at[count] = 0; count++;"]
        yield from _step(f"count < N && !known[{name}]", lines, f"register {name}")


def _unregister(k: int, symmetric: bool) -> Iterator[str]:
    lines = [] if symmetric else [f"known[who[{k}]] = false;"]
    move = "at[i] = at[i + 1];" if symmetric else "at[i] = at[i + 1]; who[i] = who[i + 1];"
    lines += [f"i = {k};", f"do :: i + 1 < count -> {move} i++ :: else -> break od;", "count--; at[count] = 0;"]
    if not symmetric:
        lines.append("who[count] = 0;")
    yield from _step(f"{k} < count", lines, f"unregister slot {k}")


def _one(trigger: str, k: int) -> Iterator[str]:
    """Write the call of one trigger on one plugin: refused, done, and with a hook that breaks."""
    done = [f"i = {k}; {_move(trigger)};", "if :: on -> at[i] = was :: else fi;"]
    yield from _step(f"{k} < count", done, f"{trigger} on slot {k}")
    if trigger != FAIL:
        broken = [
            f"i = {k}; {_move(trigger)};",
            f"if :: on -> {_move(FAIL)}; if :: on -> at[i] = was :: else fi :: else fi;",
        ]
        yield from _step(f"{k} < count", broken, f"{trigger} on slot {k}, whose hook breaks")


def _walk(trigger: str, plugins: int) -> Iterator[str]:
    for broken in range(plugins + 1):
        guard = "true" if broken == plugins else f"{broken} < count"
        comment = f"{trigger}_all" if broken == plugins else f"{trigger}_all, the hook of slot {broken} breaks"
        lines = [
            "i = 0;",
            "do",
            ":: i >= count -> break",
            ":: else ->",
            f"   {_move(trigger)};",
            "   if",
            "   :: !on -> break",
            f"   :: on && i == {broken} -> {_move(FAIL)}; if :: on -> at[i] = was :: else fi; break",
            "   :: else -> at[i] = was; i++",
            "   fi",
            "od;",
        ]
        yield from _step(guard, lines, comment)


def _stop_all(lifecycle: Lifecycle, plugins: int) -> Iterator[str]:
    idle = [state for state in lifecycle.states if state == lifecycle.initial or state in lifecycle.rest]
    at_rest = " || ".join([f"at[i] == {_state(state)}" for state in idle])
    for broken in range(plugins + 1):
        guard = "true" if broken == plugins else f"{broken} < count"
        comment = "stop_all" if broken == plugins else f"stop_all, the hook of slot {broken} breaks"
        failed = " || ".join([f"at[i] == {_state(state)}" for state in sorted(lifecycle.failures)]) or "false"
        lines = [
            "i = 0;",
            "do",
            ":: i >= count -> break",
            f":: i < count && ({at_rest}) -> i++",
            ":: else ->",
            f"   {_move(STOP)};",
            f"   if :: !on -> {_move(FAIL)}; at[i] = was; {_move(STOP)} :: else fi;",
            "   assert(on);",
            f"   if :: i == {broken} -> {_move(FAIL)}; if :: on -> at[i] = was :: else fi; assert({failed})",
            f"   :: else -> at[i] = was; assert({at_rest})",
            "   fi;",
            "   i++",
            "od;",
        ]
        yield from _step(guard, lines, comment)


# TLA+.


def to_tla(lifecycle: Lifecycle = LIFECYCLE, *, plugins: int = 3, module: str = "Registry") -> str:
    """Return a TLA+ module of a registry.

    ``Spec`` is the behaviour, ``TypeOK`` and ``Released`` are what TLC can check of it. Plugins have the
    names 1 to ``plugins``.

    Args:
        lifecycle: of the plugins.
        plugins: at most how many are registered.
        module: the name of the module.

    Raises:
        DefinitionError: ``plugins`` is not between 1 and 200, or ``module`` is no name.

    >>> print(to_tla(plugins=2).splitlines()[0])
    ---- MODULE Registry ----
    """
    _check(lifecycle, plugins)
    if not re.fullmatch(r"[A-Za-z]\w*", module, re.ASCII):
        raise DefinitionError(f"a TLA+ module is named by a letter and letters, digits or underscores, not {module!r}")
    arcs = ", ".join([f'<<"{arc.trigger}", "{arc.source}", "{arc.dest}">>' for arc in lifecycle.arcs])
    walks = [trigger for trigger in _WALKS if trigger in lifecycle.triggers]
    return f"""---- MODULE {module} ----
\\* A registry of at most {plugins} plugins. Made from the transition table; do not edit.
EXTENDS Naturals, Sequences

Names == 1..{plugins}
States == {_set_of(lifecycle.states)}
Triggers == {_set_of(lifecycle.triggers)}
Arcs == {{{arcs}}}
Initial == "{lifecycle.initial}"
Rest == {_set_of(sorted(lifecycle.rest))}

VARIABLES order, state, call
vars == <<order, state, call>>

Registered == {{order[i] : i \\in 1..Len(order)}}
Can(t, s) == \\E a \\in Arcs : a[1] = t /\\ a[2] = s
Dest(t, s) == (CHOOSE a \\in Arcs : a[1] = t /\\ a[2] = s)[3]
Failed(s) == IF Can("{FAIL}", s) THEN Dest("{FAIL}", s) ELSE s
Fired(t, s, broken) == IF broken THEN Failed(s) ELSE Dest(t, s)
Idle(s) == s = Initial \\/ s \\in Rest
Nobody == {plugins} + 1

\\* How far a walk comes that ends with the first plugin that is refused or broken.
Reaches(t, broken, i) == \\A j \\in 1..(i - 1) : Can(t, state[order[j]]) /\\ order[j] # broken
Place(p) == CHOOSE i \\in 1..Len(order) : order[i] = p
Walked(t, broken) == [p \\in Names |->
    IF p \\in Registered /\\ Can(t, state[p]) /\\ Reaches(t, broken, Place(p))
    THEN Fired(t, state[p], p = broken) ELSE state[p]]

StoppedFrom(s, broken) ==
    IF Idle(s) THEN s
    ELSE IF Can("{STOP}", s) THEN Fired("{STOP}", s, broken)
    ELSE Fired("{STOP}", Failed(s), broken)

Init == order = << >> /\\ state = [p \\in Names |-> Initial] /\\ call = "none"

Register(p) ==
    /\\ p \\notin Registered
    /\\ order' = Append(order, p)
    /\\ state' = [state EXCEPT ![p] = Initial]
    /\\ call' = "register"

Unregister(p) ==
    /\\ p \\in Registered
    /\\ order' = SelectSeq(order, LAMBDA q : q # p)
    /\\ state' = [state EXCEPT ![p] = Initial]
    /\\ call' = "unregister"

Fire(t, p, broken) ==
    /\\ p \\in Registered
    /\\ Can(t, state[p])
    /\\ t = "{FAIL}" => ~broken
    /\\ state' = [state EXCEPT ![p] = Fired(t, @, broken)]
    /\\ order' = order
    /\\ call' = "fire"

Walk(t, broken) ==
    /\\ state' = Walked(t, broken)
    /\\ order' = order
    /\\ call' = "walk"

StopAll(broken) ==
    /\\ state' = [p \\in Names |-> IF p \\in Registered THEN StoppedFrom(state[p], p = broken) ELSE state[p]]
    /\\ order' = order
    /\\ call' = IF broken = Nobody THEN "stop_all" ELSE "stop_all, one breaks"

Next ==
    \\/ \\E p \\in Names : Register(p) \\/ Unregister(p)
    \\/ \\E t \\in Triggers, p \\in Names, broken \\in BOOLEAN : Fire(t, p, broken)
    \\/ \\E t \\in {_set_of(walks)}, broken \\in Names \\cup {{Nobody}} : Walk(t, broken)
    \\/ \\E broken \\in Names \\cup {{Nobody}} : StopAll(broken)

Spec == Init /\\ [][Next]_vars

TypeOK == state \\in [Names -> States] /\\ Len(order) <= {plugins}
Released == call = "stop_all" => \\A p \\in Registered : Idle(state[p])
====
"""


def _set_of(words: Sequence[str]) -> str:
    return "{" + ", ".join([f'"{word}"' for word in words]) + "}"
