"""Faulty plugins: each has one mistake that people make, as it looks in real code."""

from __future__ import annotations

from typing import Final

from tests.zoo.faulty import blocking, cancelling, holding, process_wide, schedules, sequences, tables
from tests.zoo.specimen import Specimen

__all__ = ["FAULTY"]

FAULTY: Final[list[Specimen]] = [
    *tables.FAULTY,
    *blocking.FAULTY,
    *sequences.FAULTY,
    *holding.FAULTY,
    *process_wide.FAULTY,
    *cancelling.FAULTY,
    *schedules.FAULTY,
]
