"""The second step: the order in each layer, so that few links cross."""

from __future__ import annotations

from bisect import bisect_right, insort

from fsm_plugins.diagrams.layout.shapes import Piece, Sheet

__all__ = ["crossings", "order"]

_ROUNDS = 24
_PATIENCE = 5
# Beyond this many pieces, exchanging neighbours costs more time than its outcome is worth.
_SMALL = 400


def order(sheet: Sheet) -> None:
    """Sort each layer of ``sheet``: put pieces near the average of what they are tied to, down and up again."""
    _spread(sheet)
    best, crossed = [list(layer) for layer in sheet.layers], crossings(sheet)
    small = sum(map(len, sheet.layers)) <= _SMALL
    futile = 0
    for number in range(_ROUNDS):
        if not crossed or futile > _PATIENCE:
            break
        down = number % 2 == 0
        for layer in sheet.layers[1:] if down else sheet.layers[-2::-1]:
            _sort(layer, down)
        if small:
            _exchange(sheet)
        now = crossings(sheet)
        futile = 0 if now < crossed else futile + 1
        if now < crossed:
            best, crossed = [list(layer) for layer in sheet.layers], now
    for layer, pieces in zip(sheet.layers, best, strict=True):
        layer[:] = pieces
        _number(layer)


def crossings(sheet: Sheet) -> int:
    """Return how often links cross in the present order."""
    total = 0
    for layer in sheet.layers:
        ends: list[int] = []
        for piece in layer:
            places = sorted(below.order for below in piece.below)
            total += sum(len(ends) - bisect_right(ends, place) for place in places)
            for place in places:
                insort(ends, place)
    return total


def _number(layer: list[Piece]) -> None:
    for place, piece in enumerate(layer):
        piece.order = place


def _spread(sheet: Sheet) -> None:
    """Number each layer as a walk in depth from the top comes to its pieces, so that trees begin untangled."""
    seen: set[int] = set()
    found: list[list[Piece]] = [[] for _ in sheet.layers]
    for start in (piece for layer in sheet.layers for piece in layer):
        walk = [start]
        while walk:
            piece = walk.pop()
            if id(piece) not in seen:
                seen.add(id(piece))
                found[piece.layer].append(piece)
                walk.extend(reversed(piece.below))
    for layer, pieces in zip(sheet.layers, found, strict=True):
        layer[:] = pieces
        _number(layer)


def _sort(layer: list[Piece], down: bool) -> None:
    def wish(piece: Piece) -> float:
        ties = piece.above if down else piece.below
        return sum(other.order for other in ties) / len(ties) if ties else piece.order

    layer.sort(key=wish)
    _number(layer)


def _exchange(sheet: Sheet) -> None:
    """Exchange neighbours as long as that leaves fewer crossings."""
    for _ in range(4):
        better = False
        for layer in sheet.layers:
            for place in range(len(layer) - 1):
                left, right = layer[place], layer[place + 1]
                if _between(right, left) < _between(left, right):
                    layer[place], layer[place + 1] = right, left
                    left.order, right.order = right.order, left.order
                    better = True
        if not better:
            return


def _between(left: Piece, right: Piece) -> int:
    """Return how often the links of two neighbours cross."""
    return sum(
        one.order > other.order
        for ours, theirs in ((left.above, right.above), (left.below, right.below))
        for one in ours
        for other in theirs
    )
