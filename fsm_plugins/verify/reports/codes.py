"""The one table of checks: every finding has a code of it, and ``explain`` prints its page.

Codes and slugs are stable: they stand in ignore lists and baselines. A code is never used again for something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from attrs import frozen

from fsm_plugins.errors import suggestion
from fsm_plugins.verify.reports.examples import EXAMPLES

__all__ = ["CHECKS", "LAYERS", "Check", "Layer", "find_check"]

Layer: TypeAlias = Literal["L0", "L1", "L2", "L3", "L4", "L6"]

LAYERS: Final[Mapping[Layer, str]] = MappingProxyType(
    {
        "L0": "static",
        "L1": "sequences",
        "L2": "faults",
        "L3": "registry",
        "L4": "schedules",
        "L6": "conformance",
    }
)
"""The layers that find something, and what they are called."""


@frozen
class Check:
    """One thing that is looked for.

    Attributes:
        code: ``FP012``.
        slug: the same in words.
        layer: which layer looks for it; a deeper one may come upon it, too.
        title: what is wrong, in a line.
        why: why that matters, and what to do.
        bad: a plugin, or a trace, with the mistake.
        good: the same without it.
    """

    code: str
    slug: str
    layer: Layer
    title: str
    why: str
    bad: str
    good: str

    def page(self) -> str:
        """Return the page about it, as Markdown."""
        language = "python" if self.layer != "L6" else "json"
        return (
            f"# {self.code} {self.slug}\n\n{self.title} Found by {self.layer}, {LAYERS[self.layer]}.\n\n{self.why}\n\n"
            f"Bad:\n\n```{language}\n{self.bad}```\n\nGood:\n\n```{language}\n{self.good}```\n\n"
            f'To accept it in one plugin: `verify_ignore = {{"{self.code}": "the reason"}}` in its class.\n'
        )


_TABLE: Final[tuple[tuple[int, str, Layer, str, str], ...]] = (
    (
        1, "unreachable-state", "L0", "A state of the lifecycle cannot be reached.",
        "Code that waits for this state waits for ever. As a rule an arc is missing, or a name is misspelt.",
    ),
    (
        2, "dead-end", "L0", "A state that is not rest has no way out.",
        "A plugin in it can neither go on nor be stopped, and what it holds is never released.",
    ),
    (
        3, "no-way-to-rest", "L0", "From some state no call, and no failure, leads to rest.",
        "A supervisor that stops everything cannot stop this plugin. Add an arc 'stop', or 'fail' to a state with one.",
    ),
    (
        4, "unreachable-arc", "L0", "An arc can never be taken.",
        "It begins in a state that cannot be reached, or another arc of the same trigger always comes first.",
    ),
    (
        5, "hook-signature", "L0", "A hook cannot be called as the framework calls it, or is never called.",
        ("Hooks are asynchronous methods without arguments. A misspelt hook is an ordinary method that nobody calls, "
         "and there is no hook for 'fail': release things in on_stop, which also runs after a failure."),
    ),
    (
        6, "port-problem", "L0", "A port is declared in a way that cannot be wired.",
        "Ports are found from annotations when the application is put together; this plugin cannot be part of any.",
    ),
    (
        7, "blocking-call", "L0", "A hook or a worker calls something that blocks the event loop.",
        ("Nothing else runs meanwhile, in this plugin or any other: no deadline passes, no signal is handled. Use the "
         "asynchronous call, or asyncio.to_thread."),
    ),
    (
        10, "hook-raises", "L1", "A hook raises although nothing went wrong.",
        "The plugin cannot be used with these settings, or not in this order of calls.",
    ),
    (
        11, "hook-hangs", "L1", "A hook does not come to an end.",
        "Its deadline passes and the plugin fails. A busy loop is worse: it stops the whole process.",
    ),
    (
        12, "illegal-call-has-effect", "L1", "A call that the lifecycle does not allow changed something.",
        "Callers rely on it that a refused call did nothing. Callbacks of the machine must not move plugins.",
    ),
    (
        13, "invariant-broken", "L1", "An invariant that was given does not hold after some call.",
        "The invariant was asked after each call of the trace, and held until the last one.",
    ),
    (
        14, "second-run-fails", "L1", "The first run works, the second one does not.",
        ("Something outlives the first run: state of the class or the module, a port, a file, an object that can be "
         "used once. A supervisor that restarts this plugin never gets it up again."),
    ),
    (
        15, "not-at-rest", "L1", "A plugin is in another state than its table says.",
        "After stop a plugin is at rest, whatever happened before; its owner has no other way to be rid of it.",
    ),
    (
        16, "worker-crashes", "L1", "A worker raises, and its plugin fails, although nothing went wrong.",
        "Catch in the worker what is normal in its work; an exception that gets out of it is a failure.",
    ),
    (
        17, "health-check-raises", "L1", "The health check raises, or does not answer with a HealthStatus.",
        "It reads as unhealthy, and the reason that an operator sees is an accident. Return what is wrong instead.",
    ),
    (
        18, "health-check-changes-state", "L1", "The health check moves its plugin.",
        "Whoever asks must be able to ask at any time. To act on bad health is for the one who asked.",
    ),
    (
        19, "ends-process", "L1", "The plugin ends the process it runs in.",
        "Every other plugin dies with it, without its on_stop. Raise an ordinary exception, and let the owner decide.",
    ),
    (
        20, "caller-cancelled", "L1", "The plugin cancels a task that is not its own.",
        "The caller gets a CancelledError that nobody asked for. Cancel only tasks that the plugin has made.",
    ),
    (
        30, "leak-task", "L2", "A task outlives its plugin.",
        ("It works on with resources that are gone. Start it with self.spawn, which ends it, or cancel and await it in "
         "on_stop, also after a start that did not get to its end."),
    ),
    (
        31, "leak-async-generator", "L2", "An async generator is left open, with something to clean up.",
        "Its finally block runs at some later time, in another task, or never. Use contextlib.aclosing.",
    ),
    (
        32, "leak-thread", "L2", "A thread outlives its plugin.",
        "Threads cannot be cancelled: tell it to end, with an event for example, and join it in on_stop.",
    ),
    (
        33, "leak-fd", "L2", "A file or a pipe is left open.",
        ("A process has few of them, and a plugin that is restarted often uses them up. Note what was opened before "
         "the next thing that can fail, and close it in on_stop."),
    ),
    (
        34, "leak-socket", "L2", "A socket is left open.",
        "The port stays taken, and the peer waits. Keep the socket in an attribute before the next await.",
    ),
    (
        35, "leak-process", "L2", "A child process outlives its plugin, or was not waited for.",
        "Terminate it and wait for it in on_stop; kill it if it does not end.",
    ),
    (
        36, "leak-channel-end", "L2", "An end of a channel is left open.",
        ("The other side waits for messages that nobody will send: a consumer never drains. The framework closes the "
         "ports themselves; a clone has to be closed by who made it."),
    ),
    (
        37, "leak-temporary-file", "L2", "A temporary file or directory is left behind.",
        "They add up. Remove it in on_stop, also after a start that did not get to its end.",
    ),
    (
        38, "never-awaited", "L2", "A coroutine was made and never awaited.",
        "What it was to do has not happened. As a rule an await is missing.",
    ),
    (
        39, "unretrieved-exception", "L2", "A task or a callback failed, and nobody looked.",
        "The plugin goes on as if all were well. Await the task, or start it with self.spawn.",
    ),
    (
        40, "signal-handler-left", "L2", "A signal handler is left behind.",
        "The process no longer reacts to the signal as its owner set it up. Put the old handler back in on_stop.",
    ),
    (
        41, "environment-changed", "L2", "The environment of the process is left changed.",
        "It is shared with all plugins and inherited by every child process. Pass env= to the child instead.",
    ),
    (
        42, "working-directory-changed", "L2", "The working directory of the process is left changed.",
        "Every relative path in the process now means something else. Use absolute paths, or cwd= of the child.",
    ),
    (
        43, "cancellation-swallowed", "L2", "A hook or a worker does not let its cancellation end it.",
        ("It goes on working for a caller who has gone, until it is abandoned after the grace period. Catch "
         "CancelledError to clean up, and raise it again."),
    ),
    (
        44, "stop-after-fault-fails", "L2", "on_stop fails after something before it failed.",
        ("It relies on what an init or a start would have made that did not get to its end. Nothing after that line is "
         "released. Give every attribute a value in __init__, and release what there is."),
    ),
    (
        45, "lock-held", "L2", "A lock is still held when the plugin rests.",
        "Who takes it next waits for ever. Hold locks in 'with' or 'async with' blocks.",
    ),
    (
        46, "message-lost", "L2", "A message was taken from an input, and is nowhere when the plugin rests.",
        ("When the producers are gone a plugin is given the time to read its inputs to the end. Deal with what was "
         "taken before you end: flush batches, and let the worker see the end of its input."),
    ),
    (
        47, "double-release", "L2", "Something is released a second time, and that fails.",
        "on_stop runs again if it was interrupted. Forget what was released: take it out of the attribute first.",
    ),
    (
        60, "registry-departs", "L3", "A registry does something else than its model.",
        "The calls of the trace lead to another state, another order, or another outcome than documented.",
    ),
    (
        70, "not-linearizable", "L4", "Calls at the same time come to something that no order of them would.",
        "Their callers see a plugin that cannot be explained by one call after the other.",
    ),
    (
        71, "deadlock", "L4", "Calls at the same time wait for each other.",
        "None of them ever ends, except by its deadline.",
    ),
    (
        72, "race", "L4", "What happens depends on which of two calls comes first.",
        ("A check and the act that relies on it are apart by an await, and another call comes in between. Act before "
         "the await, or hold a lock over both."),
    ),
    (
        73, "uncontrolled", "L4", "A run cannot be repeated.",
        ("Something outside the event loop takes part: sockets, threads, processes, the real clock, or random numbers. "
         "What holds in one run says little about the next."),
    ),
    (
        80, "trace-departs", "L6", "A recorded trace is not one that the lifecycle allows.",
        "Events are missing or out of order, or what was recorded is another version of the plugin.",
    ),
)  # fmt: skip

CHECKS: Final[Mapping[str, Check]] = MappingProxyType(
    {
        slug: Check(f"FP{number:03}", slug, layer, title, why, *EXAMPLES[slug])
        for number, slug, layer, title, why in _TABLE
    }
)
"""By slug."""


def find_check(name: str) -> Check:
    """Return the check of a code or a slug.

    Raises:
        LookupError: there is none; the text names the nearest.

    >>> find_check("FP030").slug, find_check("leak-task").code
    ('leak-task', 'FP030')
    >>> find_check("leak-tsk")
    Traceback (most recent call last):
    LookupError: there is no check 'leak-tsk' (did you mean 'leak-task'?)
    """
    for check in CHECKS.values():
        if name.lower() in (check.slug, check.code.lower()):
            return check
    known = [*CHECKS, *(check.code for check in CHECKS.values())]
    raise LookupError(f"there is no check {name!r}{suggestion(name, known)}")
