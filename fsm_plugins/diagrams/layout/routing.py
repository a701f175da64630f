"""The last step: how far apart the layers are, and the lines of the links.

Within a layer a line goes straight along, at the place that was kept free for it; between two layers it swings to the
next such place. So lines cross lines, but no box and no label.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from fsm_plugins.diagrams.layout.layering import cut
from fsm_plugins.diagrams.layout.ordering import order
from fsm_plugins.diagrams.layout.placing import apart, place
from fsm_plugins.diagrams.layout.shapes import Box, Link, Piece, Sheet

__all__ = ["Arrangement", "Route", "arrange"]

_GAP = 17.0
_GAP_AT_MOST = 64.0
_PORTS = 13.0
_CORNER = 9.0


@frozen
class Route:
    """Where a link goes.

    Attributes:
        points: ``(across, along)`` from tail to head. The line is straight from an even one to the next, and swings
            from an odd one to the next.
        label: the middle of its label, or None.
    """

    points: tuple[tuple[float, float], ...]
    label: tuple[float, float] | None


@frozen
class Arrangement:
    """Where everything goes.

    Attributes:
        middles: ``(across, along)`` of each box.
        routes: the line of each link.
        across, along: the size of the whole.
    """

    middles: tuple[tuple[float, float], ...]
    routes: tuple[Route, ...]
    across: float
    along: float


def arrange(boxes: Sequence[Box], links: Sequence[Link]) -> Arrangement:
    """Place ``boxes`` and ``links``, from no other knowledge than their sizes and their order.

    >>> box = Box(before=10, after=10, along=20, half=10, body=20)
    >>> arrange([box, box], [Link(0, 1)]).middles
    ((10.0, 10.0), (10.0, 64.0))
    """
    sheet = cut(boxes, links)
    order(sheet)
    place(sheet)
    tops, bottoms = _bands(sheet)
    ports = _ports(boxes, sheet)
    middles = tuple((piece.middle, (tops[piece.layer] + bottoms[piece.layer]) / 2) for piece in sheet.boxes)
    routes = []
    for number, chain in enumerate(sheet.chains):
        upper, lower = chain[0], chain[-1]
        link = links[number]
        first, last = (link.head, link.tail) if sheet.turned[number] else (link.tail, link.head)
        points = [
            (ports[number, True], (tops[upper.layer] + bottoms[upper.layer] + boxes[first].body) / 2),
            (ports[number, True], bottoms[upper.layer]),
        ]
        for piece in chain[1:-1]:
            points += [(piece.middle, tops[piece.layer]), (piece.middle, bottoms[piece.layer])]
        points += [
            (ports[number, False], tops[lower.layer]),
            (ports[number, False], (tops[lower.layer] + bottoms[lower.layer] - boxes[last].body) / 2),
        ]
        label = sheet.labels[number]
        routes.append(
            Route(
                tuple(points[::-1] if sheet.turned[number] else points),
                (label.middle, (tops[label.layer] + bottoms[label.layer]) / 2) if label is not None else None,
            )
        )
    across = max((piece.middle + piece.after for layer in sheet.layers for piece in layer), default=0.0)
    return Arrangement(middles, tuple(routes), across, bottoms[-1] if bottoms else 0.0)


def _bands(sheet: Sheet) -> tuple[list[float], list[float]]:
    """Return where each layer begins and ends. Where lines swing far, layers are further apart."""
    tops, bottoms = [], []
    at = 0.0
    for number, layer in enumerate(sheet.layers):
        if number:
            swings = [abs(piece.middle - above.middle) for piece in layer for above in piece.above]
            at += min(_GAP + 0.1 * max(swings, default=0.0), _GAP_AT_MOST)
        tops.append(at)
        at += max((piece.along for piece in layer), default=0.0)
        bottoms.append(at)
    return tops, bottoms


def _ports(boxes: Sequence[Box], sheet: Sheet) -> dict[tuple[int, bool], float]:
    """Return where each link leaves its upper end, and where it comes to its lower one."""
    numbers = {id(piece): number for number, piece in enumerate(sheet.boxes)}
    sides: dict[tuple[int, bool], list[tuple[Piece, int]]] = {}
    for number, chain in enumerate(sheet.chains):
        sides.setdefault((numbers[id(chain[0])], True), []).append((chain[1], number))
        sides.setdefault((numbers[id(chain[-1])], False), []).append((chain[-2], number))
    ports: dict[tuple[int, bool], float] = {}
    for (box, down), ends in sides.items():
        ends.sort(key=lambda end: (end[0].order, end[1]))
        middle, reach = sheet.boxes[box].middle, max(boxes[box].half - _CORNER, 0.0)
        step = min(_PORTS, 2 * reach / (len(ends) - 1)) if len(ends) > 1 else 0.0
        wishes = [min(max(piece.middle, middle - reach), middle + reach) for piece, _ in ends]
        for place_, (wish, (_, number)) in enumerate(zip(apart(wishes, [step] * len(ends)), ends, strict=True)):
            low, high = middle - reach + place_ * step, middle + reach - (len(ends) - 1 - place_) * step
            ports[number, down] = min(max(wish, low), high)
    return ports
