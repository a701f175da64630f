"""What the renderers do to text alike: make it printable, wrap it, and find harmless identifiers for ids."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import Final

from fsm_plugins.diagrams.model import Diagram

__all__ = ["clean", "escaped", "identifiers", "one_line", "width", "wrap"]

_NEWLINES = re.compile("\r\n|[\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029]")
# What XML, YAML or a terminal does not take. Tabs go, too: nobody agrees on how wide they are.
_UNPRINTABLE = re.compile(
    "[\x00-\x09\x0e-\x1f\x7f-\x9f\ud800-\udfff\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff]"
)


def clean(text: str) -> str:
    """Return ``text`` with one kind of line end, and with a mark in place of what cannot be printed.

    >>> clean("one\\r\\ntwo" + chr(7))
    'one\\ntwo\ufffd'
    """
    return _UNPRINTABLE.sub("\ufffd", _NEWLINES.sub("\n", text))


def one_line(text: str) -> str:
    """Return ``text`` cleaned, with a sign in place of each line end.

    >>> one_line("one\\ntwo")
    'one⏎two'
    """
    return clean(text).replace("\n", "⏎")


def escaped(text: str, harmless: str, escape: Callable[[str], str], newline: str) -> str:
    """Return ``text`` cleaned, with every character escaped that is neither alphanumeric nor ``harmless``.

    Space at either end is escaped even so, for formats drop it.

    >>> escaped('a "b"', " ", lambda character: f"#{ord(character)};", "<br/>")
    'a #34;b#34;'
    """

    text = clean(text)
    inner = range(len(text) - len(text.lstrip()), len(text.rstrip()))

    def one(place: int, character: str) -> str:
        if character == "\n":
            return newline
        if place not in inner:
            return escape(character)
        if character in harmless or character.isalnum() or ord(character) > 0x2000:
            return character
        return escape(character)

    return "".join(one(place, character) for place, character in enumerate(text))


# Words that mean something in Mermaid, DOT or PlantUML, whatever their case.
_RESERVED: Final = frozenset(
    """
    accdescr acctitle activate actor allowmixing alt and as autonumber bottom box break bt caption choice class
    classdef click concurrent create critical deactivate default destroy digraph direction down edge else end
    enduml entrypoint exitpoint expansioninput expansionoutput flowchart footer fork frame graph header hide
    history href inputpin interface join left legend link links linkstyle loop lr node note object of on opt
    outputpin over package par participant properties rect remove right rl root scale sdlreceive skinparam start
    startuml state statediagram strict style subgraph tb td title to together top up
    """.split()  # noqa: SIM905 - a column of quotes would hide them
)
_CLEAN_ID: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")


def identifiers(diagram: Diagram) -> dict[str, str]:
    """Return for the id of each node and group a word that is an identifier everywhere, unique whatever the case.

    An id that is such a word stays what it is.

    >>> from fsm_plugins.diagrams.model import Node
    >>> identifiers(Diagram([Node("running", "running"), Node("end", "end"), Node("a b", "a b")], []))
    {'running': 'running', 'end': 's1_end', 'a b': 's2_a_b'}
    """
    return distinct(item.id for item in diagram.items)


def distinct(ids: Iterable[str]) -> dict[str, str]:
    """Return an identifier for each of ``ids``; see `identifiers`.

    >>> distinct(["A", "a"])
    {'A': 'A', 'a': 's1_a'}
    """
    given = tuple(ids)
    found: dict[str, str] = {}
    # A word that stays is never given to another id, which may come before it.
    taken = {one.lower() for one in given if _CLEAN_ID.fullmatch(one)}
    kept: set[str] = set()
    for number, one in enumerate(given):
        word = one
        if not _CLEAN_ID.fullmatch(one) or one.lower() in _RESERVED or one.lower() in kept:
            rest = re.sub(r"[^A-Za-z0-9]+", "_", one).strip("_")[:24]
            base = word = f"s{number}_{rest}".rstrip("_")
            again = 1
            while word.lower() in taken:
                again += 1
                word = f"{base}_{again}"
            taken.add(word.lower())
        kept.add(word.lower())
        found[one] = word
    return found


def width(text: str) -> int:
    """Return how many columns of a terminal one line of text takes.

    >>> width("abc"), width("日本"), width("e\u0301")
    (3, 4, 1)
    """
    columns = 0
    for character in text:
        if unicodedata.combining(character) or character in "\u200b\u200c\u200d\ufe0e\ufe0f":
            continue
        columns += 2 if unicodedata.east_asian_width(character) in "WF" else 1
    return columns


def wrap(text: str, most: float, measure: Callable[[str], float] = width) -> list[str]:
    """Return the lines of ``text``, broken where they would be wider than ``most``: at spaces, else anywhere.

    Nothing is dropped but the space at a break.

    >>> wrap("one two\\nthree", 5)
    ['one', 'two', 'three']
    >>> wrap("abcdefgh", 3)
    ['abc', 'def', 'gh']
    """
    lines: list[str] = []
    for paragraph in clean(text).split("\n"):
        line = ""
        for word in paragraph.split(" "):
            joined = f"{line} {word}" if line else word
            if measure(joined) <= most:
                line = joined
                continue
            if line:
                lines.append(line)
            line = word
            while measure(line) > most and len(line) > 1:
                cut = _longest(line, most, measure)
                lines.append(line[:cut])
                line = line[cut:]
        lines.append(line)
    return lines


def _longest(line: str, most: float, measure: Callable[[str], float]) -> int:
    """Return how many characters fit; at least one, and nothing that belongs to the one before is parted from it."""
    cut = 1
    while cut < len(line) and (
        measure(line[: cut + 1]) <= most or unicodedata.combining(line[cut]) or line[cut] in "\u200d\ufe0f"
    ):
        cut += 1
    return cut
