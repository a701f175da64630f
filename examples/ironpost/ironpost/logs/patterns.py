"""Regular expressions that take time linear in the text, whatever the expression and whatever the text.

Who can write to a log can choose its lines. With the engine of the standard library one line of a few dozen letters can
keep an innocent looking expression busy for hours; RE2 has no such lines. In exchange it has no look-around and no
back-references. This module is the only one that knows the library.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

import re2

__all__ = ["AnyOf", "Pattern", "PatternError"]

_MEMORY: Final = 8 << 20  # bytes for one expression, compiled
_MEMORY_OF_MANY: Final = 64 << 20


class PatternError(ValueError):
    """An expression that RE2 does not take. Its text says why."""


class Pattern:
    """A compiled regular expression in the syntax of RE2, searched for anywhere in a text.

    Args:
        text: the expression.
        ignore_case: whether upper and lower case are the same.

    Raises:
        PatternError: it is not a regular expression, or needs what RE2 does not have.

    >>> Pattern(r"from (?P<src>\\S+)").groups("Accepted password for root from 10.0.0.1")
    {'src': '10.0.0.1'}
    >>> Pattern(r"(?=a)")
    Traceback (most recent call last):
    ...
    ironpost.logs.patterns.PatternError: invalid perl operator: (?=
    """

    __slots__ = ("_compiled", "_names", "_one", "text")

    def __init__(self, text: str, ignore_case: bool = False) -> None:
        options: Any = re2.Options()
        options.log_errors = False
        options.max_mem = _MEMORY
        options.case_sensitive = not ignore_case
        self.text = text
        # Of the two ways that the library has to say whether there is a match, that of a set is ten times quicker: it
        # asks for no places. The error of the other one says what is wrong.
        self._one: Any = re2.Set.SearchSet(options)
        try:
            self._compiled: Any = re2.compile(text, options)
            self._one.Add(text)
            self._one.Compile()
        except (re2.error, UnicodeError) as error:
            reason = error.args[0] if error.args else error
            raise PatternError(str(reason, "utf-8", "replace") if isinstance(reason, bytes) else str(reason)) from None
        self._names: dict[str, int] = dict(self._compiled.groupindex)

    @property
    def names(self) -> Collection[str]:
        """The names of the named groups."""
        return self._names.keys()

    @property
    def found(self) -> Callable[[str], object]:
        """The function that says whether there is a match in a text: its result is true or false."""
        match: Callable[[str], object] = self._one.Match
        return match

    def groups(self, text: str) -> dict[str, str]:
        """Return what the named groups are in the first match; those that take part in it only."""
        match = self._compiled.search(text.encode())
        if match is None:
            return {}
        return {name: str(match[at], "utf-8", "replace") for name, at in self._names.items() if match[at] is not None}

    @staticmethod
    def quote(text: str) -> str:
        """Return the expression for a literal text."""
        return str(re2.escape(text))


class AnyOf:
    """Many expressions that are searched for at once, in one pass over the text.

    Args:
        texts: the expressions.

    Raises:
        PatternError: one is no expression, or together they are too large.

    >>> AnyOf(["root", "^a", "b$"]).matching("a root")
    [0, 1]
    """

    __slots__ = ("matching",)

    def __init__(self, texts: Sequence[str]) -> None:
        options: Any = re2.Options()
        options.log_errors = False
        options.max_mem = _MEMORY_OF_MANY
        # The library says nothing when it has too little memory for a search, and finds nothing. It has enough for any
        # text if it has enough for this one, which each of the expressions takes part in being looked for in.
        probe: Any = re2.Set.SearchSet(options)
        many: Any = re2.Set.SearchSet(options)
        try:
            for each in texts:
                probe.Add(each)
                many.Add(each)
            probe.Add("")
            probe.Compile()
            many.Compile()
        except (re2.error, UnicodeError) as error:
            raise PatternError(str(error)) from None
        if not probe.Match("x"):
            raise PatternError("the expressions are too large together")

        def matching(text: str) -> Sequence[int]:
            found: list[int] | None = many.Match(text)
            return sorted(found) if found else ()

        self.matching: Callable[[str], Sequence[int]] = matching
