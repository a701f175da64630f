"""The third step: where each piece is across its layer, so that links are short and long ones are straight."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from math import inf

from fsm_plugins.diagrams.layout.shapes import Piece, Sheet

__all__ = ["apart", "place"]

_GAP_BOXES = 28.0
_GAP_LINKS = 14.0
_ROUNDS = 16
# How much a link wants to be straight: between two of its own bends, and at an end.
_PULL = (8.0, 2.0)


def place(sheet: Sheet) -> None:
    """Give each piece its ``middle``: as near to what it is tied to as its neighbours in the layer allow."""
    for layer in sheet.layers:
        at = 0.0
        for number, piece in enumerate(layer):
            if number:
                at += _distance(layer[number - 1], piece)
            piece.middle = at
        for piece in layer:
            piece.middle -= at / 2
    rounds = _ROUNDS
    for number in range(rounds):
        # At first one side pulls at a time, which carries far; in the end both do, which balances.
        both = number >= rounds // 2
        for layer in sheet.layers if number % 2 == 0 else sheet.layers[::-1]:
            _settle(layer, up=both or number % 2 == 0, down=both or number % 2 == 1)
    for _ in range(3):
        for chain in sheet.chains:
            _straighten(sheet, chain[1:-1])
    left = min((piece.middle - piece.before for layer in sheet.layers for piece in layer), default=0.0)
    for layer in sheet.layers:
        for piece in layer:
            piece.middle -= left


def _distance(left: Piece, right: Piece) -> float:
    gap = _GAP_BOXES if left.real and right.real else _GAP_LINKS
    return left.after + gap + right.before


def _settle(layer: Sequence[Piece], up: bool, down: bool) -> None:
    wishes, weights = [], []
    for piece in layer:
        total = weight = 0.0
        for other in (*(piece.above if up else ()), *(piece.below if down else ())):
            pull = _PULL[piece.real + other.real] * min(piece.pull, other.pull)
            total += pull * other.middle
            weight += pull
        wishes.append(total / weight if weight else piece.middle)
        weights.append(weight or 0.01)
    distances = [_distance(left, right) for left, right in itertools.pairwise(layer)]
    for piece, middle in zip(layer, apart(wishes, distances, weights), strict=True):
        piece.middle = middle


def _straighten(sheet: Sheet, bends: Sequence[Piece]) -> None:
    """Put as many bends in a row as possible at one place, within the room that each has in its layer."""
    run: list[Piece] = []
    low, high = -inf, inf
    for piece in bends:
        layer = sheet.layers[piece.layer]
        at = piece.order
        least = layer[at - 1].middle + _distance(layer[at - 1], piece) if at else -inf
        most = layer[at + 1].middle - _distance(piece, layer[at + 1]) if at + 1 < len(layer) else inf
        if max(low, least) > min(high, most):
            _align(run, low, high)
            run, low, high = [], -inf, inf
        run.append(piece)
        low, high = max(low, least), min(high, most)
    _align(run, low, high)


def _align(run: Sequence[Piece], low: float, high: float) -> None:
    if run:
        wish = sum(piece.middle for piece in run) / len(run)
        for piece in run:
            piece.middle = min(max(wish, low), high)


def apart(wishes: Sequence[float], distances: Sequence[float], weights: Sequence[float] = ()) -> list[float]:
    """Return the places nearest to ``wishes`` (least squares) that keep their order and the distances between them.

    Less the distances it is a question of rising numbers, so neighbours that would fall are pooled until none does.

    >>> apart([0, 0, 9], [2, 2])
    [-1.0, 1.0, 9.0]
    """
    offset = 0.0
    pools: list[tuple[float, float, int]] = []  # the mean of each, its weight, how many it holds
    for number, wish in enumerate(wishes):
        offset += distances[number - 1] if number else 0.0
        mean, weight, size = wish - offset, (weights[number] if weights else 1.0), 1
        while pools and pools[-1][0] > mean:
            other, heavy, many = pools.pop()
            mean = (other * heavy + mean * weight) / (heavy + weight)
            weight, size = heavy + weight, size + many
        pools.append((mean, weight, size))
    places, offset, number = [], 0.0, 0
    for mean, _, size in pools:
        for _ in range(size):
            offset += distances[number - 1] if number else 0.0
            places.append(mean + offset)
            number += 1
    return places
