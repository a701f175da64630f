"""The colours of the tones, for light and for dark paper. Text has a contrast of at least 4.5 to its ground."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, TypeAlias

from fsm_plugins.diagrams.model import Tone

__all__ = ["THEMES", "Paint", "Palette", "Theme", "contrast"]

Theme: TypeAlias = Literal["light", "dark"]


class Paint(NamedTuple):
    """The colours of one tone: what fills a box, what draws its border and lines, what writes in and beside it."""

    fill: str
    line: str
    text: str


class Palette(NamedTuple):
    """The colours of one theme.

    Attributes:
        paper: what is behind everything.
        group: what fills a group.
        tones: the colours of each tone.
    """

    paper: str
    group: str
    tones: dict[Tone, Paint]


THEMES: Final[dict[Theme, Palette]] = {
    "light": Palette(
        "#ffffff",
        "#f6f8fa",
        {
            "plain": Paint("#eef2f7", "#475569", "#0f172a"),
            "accent": Paint("#dbeafe", "#1d4ed8", "#1e3a8a"),
            "good": Paint("#dcfce7", "#15803d", "#14532d"),
            "warning": Paint("#fef3c7", "#b45309", "#78350f"),
            "bad": Paint("#fee2e2", "#b91c1c", "#7f1d1d"),
            "muted": Paint("#f8fafc", "#7c8aa0", "#5b6b82"),
        },
    ),
    "dark": Palette(
        "#0d1117",
        "#161b22",
        {
            "plain": Paint("#1f2937", "#94a3b8", "#e5e7eb"),
            "accent": Paint("#1e3a8a", "#60a5fa", "#dbeafe"),
            "good": Paint("#14532d", "#4ade80", "#dcfce7"),
            "warning": Paint("#713f12", "#fbbf24", "#fef3c7"),
            "bad": Paint("#7f1d1d", "#f87171", "#fee2e2"),
            "muted": Paint("#161b22", "#64748b", "#94a3b8"),
        },
    ),
}


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours, as WCAG 2 defines it: 1 to 21.

    >>> contrast("#000000", "#ffffff")
    21.0
    """
    dark, light = sorted((_luminance(one), _luminance(other)))
    return round((light + 0.05) / (dark + 0.05), 2)


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
