"""How wide text is, without a font: the widths of Helvetica, which the common sans-serif fonts keep to or are near.

A picture tells its viewer the width that was reckoned with (``textLength``), so a font that differs is fitted in.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import Final

__all__ = ["FONT", "text_width"]

FONT: Final = "Helvetica, Arial, 'Liberation Sans', sans-serif"

# Thousandths of the font size, for the printable ASCII characters in order.
_HELVETICA: Final = (
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278,
    556, 556, 556, 556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556,
    1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833, 722, 778,
    667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556,
    333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556,
    556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
)  # fmt: skip


@cache
def _of(character: str) -> int:
    place = ord(character) - 32
    if 0 <= place < len(_HELVETICA):
        return _HELVETICA[place]
    if unicodedata.combining(character) or character in "\u200b\u200c\u200d\ufe0e\ufe0f":
        return 0
    if unicodedata.east_asian_width(character) in "WF":
        return 1150
    base = unicodedata.normalize("NFD", character)[0]
    return _of(base) if base != character and base.isascii() else 800 if character.isupper() else 650


def text_width(text: str, size: float) -> float:
    """Return how wide one line of ``text`` is, in the unit of the font's ``size``.

    >>> text_width("il", 10), text_width("日", 10)
    (4.44, 11.5)
    """
    return sum(map(_of, text)) * size / 1000
