"""A layered drawing of a graph: where boxes, arrows and the labels of arrows go, so that none overlaps another.

The method is Sugiyama's, in his four steps, one module each: turn some arrows round so that there is no cycle and give
each box a layer (`layering`); order each layer so that few arrows cross (`ordering`); place everything across its layer
(`placing`); and lead the arrows past what is in between (`routing`). The label of an arrow is placed like a box that
the arrow passes through, in a layer between those of the boxes: so labels cannot overlap anything either.

Here are numbers only: no text, no colour. *Across* is the direction in which a layer extends, *along* the one from
layer to layer; whoever draws decides which of the two goes down the paper.
"""

from fsm_plugins.diagrams.layout.routing import Arrangement, Route, arrange
from fsm_plugins.diagrams.layout.shapes import Box, Link

__all__ = ["Arrangement", "Box", "Link", "Route", "arrange"]
