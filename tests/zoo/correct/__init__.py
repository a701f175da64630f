"""Correct plugins of varied style, on which a verifier must not raise an alarm."""

from __future__ import annotations

from typing import Final

from tests.zoo.correct import files, networking, ports, processes, structured, styles, threads, timing
from tests.zoo.specimen import Specimen

__all__ = ["CORRECT"]

CORRECT: Final[list[Specimen]] = [
    *networking.CORRECT,
    *processes.CORRECT,
    *threads.CORRECT,
    *files.CORRECT,
    *ports.CORRECT,
    *timing.CORRECT,
    *structured.CORRECT,
    *styles.CORRECT,
]
