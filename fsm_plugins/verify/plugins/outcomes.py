"""What comes out of one run: values and text, so that nothing of the plugin lives on in them."""

from __future__ import annotations

from attrs import frozen

from fsm_plugins.diagrams import Step
from fsm_plugins.verify.base.script import Call, Script
from fsm_plugins.verify.plugins import accounts

__all__ = ["DeclaredFailed", "Done", "Outcome", "Trouble"]


class DeclaredFailed(Exception):
    """The cause that the verifier gives to ``fail``."""


@frozen
class Trouble:
    """Something that went wrong in a run.

    Attributes:
        slug: the check it breaks.
        what: what was seen, in words.
        at: after how many of the calls that were made.
        hook: the hook, or the call, that it is about.
        expected: what should have been.
    """

    slug: str
    what: str
    at: int
    hook: str
    expected: str


@frozen
class Done:
    """A call that was made.

    Attributes:
        call: what was called.
        source, dest: the states before and after.
        text: how a trace shows it.
        kinds: for each await of its hook, the faults that may happen there.
        refused: whether the machine refused it.
    """

    call: Call
    source: str
    dest: str
    text: str
    kinds: tuple[tuple[str, ...], ...]
    refused: bool = False


@frozen
class Outcome:
    """What became of a script.

    Attributes:
        script: the calls that were to be made.
        done: those that were made, with those that brought the plugin to rest.
        state: where the plugin was after the script, before it was brought to rest.
        troubles: what went wrong.
        steps: the transitions and refusals.
        probed: the illegal calls that were tried, as (state, trigger).
        met: the kinds of real things that were waited for.
        seconds: of the clock, for all of it.
        ledger: what became of messages.
    """

    script: Script
    done: tuple[Done, ...]
    state: str
    troubles: tuple[Trouble, ...]
    steps: tuple[Step, ...]
    probed: frozenset[tuple[str, str]]
    met: frozenset[str]
    seconds: float
    ledger: accounts.Ledger

    @property
    def complete(self) -> bool:
        """Whether every call of the script did what the table says, or failed because of its fault."""
        return len(self.done) >= len(self.script) and not self.troubles
