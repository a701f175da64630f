"""What is laid out: boxes and links by their sizes, and the pieces that links are cut into."""

from __future__ import annotations

from attrs import define, frozen

__all__ = ["Box", "Link", "Piece", "Sheet"]


@frozen
class Box:
    """A box to be placed.

    Attributes:
        before, after: how far it extends across, to either side of its middle, with all that belongs to it.
        along: its size from layer to layer, with all that belongs to it.
        half: how far the box itself extends across, to either side: there arrows may end.
        body: the size of the box itself from layer to layer.
    """

    before: float
    after: float
    along: float
    half: float
    body: float


@frozen
class Link:
    """An arrow between two different boxes, by their numbers.

    Attributes:
        tail, head: where it begins and ends.
        across, along: the size of its label; zero if it has none.
        pull: how much it draws its ends together; 1 is ordinary.
    """

    tail: int
    head: int
    across: float = 0.0
    along: float = 0.0
    pull: float = 1.0


@define(eq=False)
class Piece:
    """A box in a layer, or the place where a link passes one.

    Attributes:
        layer: its number.
        before, after, along: its size, as of a `Box`.
        real: whether it is a box.
        pull: of its link; 1 for a box.
        order: its number in the layer.
        middle: where it is, across.
        above, below: what it is tied to in the neighbouring layers.
    """

    layer: int
    before: float
    after: float
    along: float
    real: bool
    above: list[Piece]
    below: list[Piece]
    pull: float = 1.0
    order: int = 0
    middle: float = 0.0


@frozen
class Sheet:
    """Pieces, layer by layer.

    Attributes:
        layers: the pieces of each.
        boxes: the piece of each box, by the box's number.
        chains: for each link, the pieces from its upper to its lower end, ends included.
        turned: for each link, whether its head is the upper end.
        labels: for each link, the piece its label is at, or None.
    """

    layers: list[list[Piece]]
    boxes: list[Piece]
    chains: list[list[Piece]]
    turned: list[bool]
    labels: list[Piece | None]
