"""The first step: no cycles, a layer for each box, and links cut into pieces, one for each layer they pass."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from fsm_plugins.diagrams.layout.shapes import Box, Link, Piece, Sheet

__all__ = ["cut"]


def cut(boxes: Sequence[Box], links: Sequence[Link]) -> Sheet:
    """Return boxes and links as pieces in layers. The boxes that come first tend to be at the top."""
    turned = _turned(len(boxes), links)
    downward = [
        (link.head, link.tail) if turn else (link.tail, link.head) for link, turn in zip(links, turned, strict=True)
    ]
    ranks = _ranks(len(boxes), downward)
    layers: list[list[Piece]] = [[] for _ in range(max(ranks, default=-1) + 1)]
    placed = [
        Piece(rank, box.before, box.after, box.along, True, [], []) for box, rank in zip(boxes, ranks, strict=True)
    ]
    for piece in placed:
        layers[piece.layer].append(piece)
    chains: list[list[Piece]] = []
    labels: list[Piece | None] = []
    for link, (upper, lower) in zip(links, downward, strict=True):
        chain = [placed[upper]]
        passed = range(ranks[upper] + 1, ranks[lower])
        middle = (ranks[upper] + ranks[lower]) // 2
        # Boxes are in even layers, and a label there would push them apart.
        middle += 1 - middle % 2
        label: Piece | None = None
        for rank in passed:
            has_label = rank == middle and link.along > 0
            half = link.across / 2 if has_label else 0.0
            piece = Piece(rank, half, half, link.along if has_label else 0.0, False, [], [], link.pull)
            label = piece if has_label else label
            layers[rank].append(piece)
            chain.append(piece)
        chain.append(placed[lower])
        for one, other in itertools.pairwise(chain):
            one.below.append(other)
            other.above.append(one)
        chains.append(chain)
        labels.append(label)
    return Sheet(layers, placed, chains, turned, labels)


def _turned(count: int, links: Sequence[Link]) -> list[bool]:
    """Return which links to turn round so that no cycle is left: those that lead back on a walk in depth."""
    leaving: list[list[int]] = [[] for _ in range(count)]
    for number, link in enumerate(links):
        leaving[link.tail].append(number)
    turned = [False] * len(links)
    on_path, seen = [False] * count, [False] * count
    for start in range(count):
        if seen[start]:
            continue
        seen[start] = on_path[start] = True
        walk = [(start, iter(leaving[start]))]
        while walk:
            here, rest = walk[-1]
            for number in rest:
                there = links[number].head
                if on_path[there]:
                    turned[number] = True
                elif not seen[there]:
                    seen[there] = on_path[there] = True
                    walk.append((there, iter(leaving[there])))
                    break
            else:
                on_path[here] = False
                walk.pop()
    return turned


def _ranks(count: int, downward: Sequence[tuple[int, int]]) -> list[int]:
    """Return a layer for each box: as far up as possible, except where links get shorter further down.

    They are even numbers, which leaves a layer between any two for labels.
    """
    below: list[list[int]] = [[] for _ in range(count)]
    above: list[list[int]] = [[] for _ in range(count)]
    for upper, lower in downward:
        below[upper].append(lower)
        above[lower].append(upper)
    waiting = [len(ends) for ends in above]
    order = [box for box in range(count) if not waiting[box]]
    ranks = [0] * count
    for box in order:
        for lower in below[box]:
            ranks[lower] = max(ranks[lower], ranks[box] + 2)
            waiting[lower] -= 1
            if not waiting[lower]:
                order.append(lower)
    for box in reversed(order):
        if len(below[box]) > len(above[box]):
            ranks[box] = min(ranks[lower] for lower in below[box]) - 2
    top = min(ranks, default=0)
    return [rank - top for rank in ranks]
