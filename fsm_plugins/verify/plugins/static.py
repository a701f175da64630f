"""What can be seen without running anything: the table, the hooks, the ports, and calls that block.

Names in the code of a hook are looked up where they are defined, so ``from time import sleep as nap`` is recognised,
and a function of one's own that is called ``sleep`` is not.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import os
import select
import socket
import subprocess
import textwrap
import time
import types
import urllib.request
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Final

from fsm_plugins.errors import DefinitionError, suggestion
from fsm_plugins.lifecycle import FAIL, Lifecycle
from fsm_plugins.plugin import Plugin
from fsm_plugins.ports import ports_of
from fsm_plugins.verify.base.targets import Subject
from fsm_plugins.verify.plugins.observing import hooks_of
from fsm_plugins.verify.plugins.running import Trouble

__all__ = ["look_at", "of_definition"]


def look_at(subject: Subject, lifecycle: Lifecycle | None) -> list[Trouble]:
    """Return what is wrong with the definition of a plugin."""
    troubles = [] if lifecycle is None else list(_table(lifecycle))
    try:
        ports_of(subject.factory)
    except DefinitionError as error:
        troubles.append(_trouble("port-problem", str(error), "ports", "ports that can be wired"))
    cls = subject.plugin_class
    if cls is not None:
        troubles += _hooks(cls, lifecycle or cls.lifecycle)
        troubles += _blocking(cls, lifecycle or cls.lifecycle)
    return troubles


def of_definition(text: str) -> str | None:
    """Return the check that a refusal of a lifecycle belongs to, by its text; None if it is about another thing.

    A table with such a mistake cannot even be made; a factory that makes one raises when it is called.
    """
    for words, slug in _REFUSALS:
        if words in text:
            return slug
    return None


_REFUSALS: Final = (
    ("cannot be reached from", "unreachable-state"),
    ("could never be stopped", "no-way-to-rest"),
    ("may break in state", "dead-end"),
    ("two arcs for one trigger", "unreachable-arc"),
    ("annotation", "port-problem"),
    ("a port is one Sender", "port-problem"),
)


def _trouble(slug: str, what: str, about: str, expected: str) -> Trouble:
    return Trouble(slug, what, 0, about, expected)


# The table.


def _table(lifecycle: Lifecycle) -> Iterator[Trouble]:
    """Look at the machine that runs, which may have been changed since the table was checked."""
    machine = lifecycle.machine
    moves = {str(state): machine.moves[state] for state in machine.moves}
    reached = _reach(str(lifecycle.initial), moves)
    resting = {str(state) for state in lifecycle.rest}
    for state in moves:
        if state not in reached:
            yield _trouble("unreachable-state", f"state {state} cannot be reached", state, "every state can be reached")
            continue
        if state not in resting and not moves[state]:
            yield _trouble("dead-end", f"state {state} has no way out", state, "every state but rest has a way out")
        elif not _reach(state, moves) & resting:
            yield _trouble("no-way-to-rest", f"from state {state} nothing leads to rest", state, "stop is possible")
    for trigger, event in machine.events.items():
        for source, candidates in event.transitions.items():
            if source not in reached and candidates:
                yield _trouble(
                    "unreachable-arc", f"{trigger} in {source} can never be fired", f"{trigger} in {source}", "it can"
                )
            for first, later in pairwise(candidates):
                if not first.conditions:
                    text = f"{trigger}: {source} -> {later.dest} always comes after {source} -> {first.dest}"
                    yield _trouble(
                        "unreachable-arc", text, f"{trigger} in {source}", "one arc for a trigger and a state"
                    )


def _reach(start: str, moves: dict[str, Any]) -> set[str]:
    seen, todo = {start}, [start]
    while todo:
        for move in moves[todo.pop()].values():
            if str(move.dest) not in seen:
                seen.add(str(move.dest))
                todo.append(str(move.dest))
    return seen


# Hooks.


def _hooks(cls: type[Plugin], lifecycle: Lifecycle) -> Iterator[Trouble]:
    hooks = hooks_of(lifecycle)
    for hook in hooks:
        found = inspect.getattr_static(cls, hook, None)
        if found is None or found is vars(Plugin).get(hook):
            continue
        expected = f"async def {hook}(self)"
        if what := _bad_hook(found):
            yield _trouble("hook-signature", f"{hook} {what}{_place(found)}", hook, expected)
    for name in dir(cls):
        if name.startswith("on_") and name not in hooks and inspect.isfunction(getattr(cls, name, None)):
            near = suggestion(name, hooks)
            if name == f"on_{FAIL}":
                text = "on_fail is never called; what a failed plugin holds is released by on_stop"
                yield _trouble("hook-signature", text, name, "no method of this name")
            elif near:
                text = f"{name} is never called{near}{_place(getattr(cls, name))}"
                yield _trouble("hook-signature", text, name, "the name of a hook")


def _bad_hook(found: object) -> str:
    """Return what is wrong with a hook; empty if nothing can be seen."""
    function = found.__func__ if isinstance(found, staticmethod | classmethod) else found
    if not callable(function):
        return f"is {function!r}, not a method"
    if inspect.isasyncgenfunction(function):
        return "has a 'yield', which makes it a generator that nobody runs"
    if isinstance(function, types.FunctionType):
        parameters = list(inspect.signature(function).parameters.values())
        if not isinstance(found, staticmethod):
            if not parameters:
                return "takes no 'self'"
            parameters = parameters[1:]
        needed = [
            p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        ]
        if needed:
            return f"needs arguments that nobody gives: {', '.join(needed)}"
        if not inspect.iscoroutinefunction(function) and not _returns_something(function):
            return "is not asynchronous"
    return ""


def _returns_something(function: types.FunctionType) -> bool:
    """Whether a function that is not asynchronous may return something to await, as far as its source tells."""
    tree = _tree(function)
    if tree is None:
        return True
    return any(isinstance(node, ast.Return) and node.value is not None for node in ast.walk(tree))


# Blocking calls.

_FUNCTIONS: Final[dict[object, str]] = {
    time.sleep: "await asyncio.sleep(...)",
    subprocess.run: "await asyncio.create_subprocess_exec(...)",
    subprocess.call: "await asyncio.create_subprocess_exec(...)",
    subprocess.check_call: "await asyncio.create_subprocess_exec(...)",
    subprocess.check_output: "await asyncio.create_subprocess_exec(...)",
    subprocess.getoutput: "await asyncio.create_subprocess_shell(...)",
    subprocess.getstatusoutput: "await asyncio.create_subprocess_shell(...)",
    os.system: "await asyncio.create_subprocess_shell(...)",
    os.popen: "await asyncio.create_subprocess_shell(...)",
    os.wait: "await process.wait()",
    os.waitpid: "await process.wait()",
    socket.create_connection: "await asyncio.open_connection(...)",
    socket.getaddrinfo: "await loop.getaddrinfo(...)",
    socket.gethostbyname: "await loop.getaddrinfo(...)",
    urllib.request.urlopen: "await asyncio.to_thread(...)",
    select.select: "the event loop",
    builtins.input: "await asyncio.to_thread(input)",
}
# Libraries whose functions all block.
_MODULES: Final = frozenset({"requests", "urllib3", "ftplib", "smtplib", "imaplib", "poplib", "telnetlib"})


def _blocking(cls: type[Plugin], lifecycle: Lifecycle) -> Iterator[Trouble]:
    """Find calls that block, in hooks and in the methods that these call or hand to ``spawn``."""
    seen: set[str] = set()
    todo = [(hook, hook) for hook in hooks_of(lifecycle)]
    while todo:
        name, hook = todo.pop(0)
        function = inspect.getattr_static(cls, name, None)
        function = function.__func__ if isinstance(function, staticmethod | classmethod) else function
        if (
            name in seen
            or not isinstance(function, types.FunctionType)
            or function.__module__.startswith("fsm_plugins.")
        ):
            continue
        seen.add(name)
        tree = _tree(function)
        if tree is None:
            continue
        for node in _own_nodes(tree):
            if not isinstance(node, ast.Call):
                continue
            called = node.func
            if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) and called.value.id == "self":
                todo.append((called.attr, hook))
                continue
            if instead := _blocks(_value(called, function)):
                line = function.__code__.co_firstlineno + node.lineno - 1
                place = f"{os.path.basename(function.__code__.co_filename)}:{line}"
                text = f"{name} calls {ast.unparse(called)}, which blocks the event loop, {place}"
                yield _trouble("blocking-call", text, name, instead)


def _own_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk through a function, but not into functions that are defined in it: those may be run in a thread."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            continue
        yield child
        yield from _own_nodes(child)


def _value(node: ast.expr, function: types.FunctionType) -> object:
    """Return what a dotted name means in ``function``; None where that is not known."""
    if isinstance(node, ast.Attribute):
        owner = _value(node.value, function)
        return getattr(owner, node.attr, None) if isinstance(owner, types.ModuleType) else None
    if not isinstance(node, ast.Name):
        return None
    if node.id in function.__code__.co_varnames:
        return None
    closure = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=False))
    if node.id in closure:
        try:
            found: object = closure[node.id].cell_contents
        except ValueError:
            return None
        return found
    return function.__globals__.get(node.id, getattr(builtins, node.id, None))


def _blocks(value: object) -> str:
    """Return what to call instead of something that blocks; empty if it is not known to."""
    try:
        if value in _FUNCTIONS:
            return _FUNCTIONS[value]
    except TypeError:
        return ""
    module = getattr(value, "__module__", None)
    if isinstance(module, str) and module.partition(".")[0] in _MODULES and inspect.isfunction(value):
        return "await asyncio.to_thread(...)"
    return ""


def _tree(function: Callable[..., object]) -> ast.AST | None:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return None
    return tree.body[0]


def _place(function: object) -> str:
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return f", {os.path.basename(code.co_filename)}:{code.co_firstlineno}" if code is not None else ""
