"""A diagram with a place for everything: what a picture is drawn from.

Each level of a diagram (its top, the inside of each group) is laid out by itself, and a group is a box in the level
above. An edge that crosses the border of a group is drawn to the border, and its label tells where it leads inside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

from attrs import define, evolve, frozen

from fsm_plugins.diagrams.layout import Arrangement, Box, Link, Route, arrange
from fsm_plugins.diagrams.metrics import text_width
from fsm_plugins.diagrams.model import Diagram, Edge, Group, Node
from fsm_plugins.diagrams.text import one_line, wrap

__all__ = ["Arrow", "Line", "Placed", "Scene", "compose"]

LABEL: Final = 14.0
SMALL: Final = 11.5
_LEADING: Final = 1.28
_NODE_AT_MOST: Final = 230.0
_EDGE_AT_MOST: Final = 190.0
_PAD: Final = 13.0
_MARGIN: Final = 16.0
_LOOP: Final = 24.0
_DOT: Final = 7.0


class Point(NamedTuple):
    """A place in the picture, from its upper left corner."""

    x: float
    y: float


class Rect(NamedTuple):
    """A box in the picture: its upper left corner and its size."""

    x: float
    y: float
    width: float
    height: float


@frozen
class Line:
    """One line of text: its middle, its font size, and whose it is."""

    text: str
    middle: Point
    size: float
    width: float
    edge: Edge | None = None


@frozen
class Placed:
    """A node or group, with the lines written in it."""

    item: Node
    rect: Rect
    lines: tuple[Line, ...]
    depth: int


@frozen
class Arrow:
    """The edges that share one line, with what is written on it.

    Attributes:
        edges: all from one box to one other; none for the arrow to the initial state.
        points: as in `Route`.
        label: the box of its label, or None.
        lines: what is written there.
        depth: how many groups it is in.
        loop: whether it leads back to its own box; its points are those of one curve then.
    """

    edges: tuple[Edge, ...]
    points: tuple[Point, ...]
    label: Rect | None
    lines: tuple[Line, ...]
    depth: int
    loop: bool = False


@define
class Scene:
    """Everything with its place.

    Attributes:
        width, height: of the picture.
        placed: nodes and groups; what is in a group comes after it.
        arrows: in the order of the edges.
        dots: the middle of each initial marker, and how many groups it is in.
        title: the lines of the title.
        across: whether layers extend downwards, as they do if the diagram's direction is ``right``.
    """

    width: float
    height: float
    placed: list[Placed]
    arrows: list[Arrow]
    dots: list[tuple[Point, int]]
    title: tuple[Line, ...]
    across: bool


@frozen
class _Text:
    """Lines of text with their font sizes, and the edge each tells of."""

    lines: tuple[tuple[str, float, Edge | None], ...]

    @property
    def width(self) -> float:
        return max((text_width(text, size) for text, size, _ in self.lines), default=0.0)

    @property
    def height(self) -> float:
        return sum(size * _LEADING for _, size, _ in self.lines)

    def at(self, x: float, top: float) -> tuple[Line, ...]:
        """Return the lines below each other, each with its middle at ``x``."""
        lines = []
        for text, size, edge in self.lines:
            lines.append(Line(text, Point(x, top + size * _LEADING / 2), size, text_width(text, size), edge))
            top += size * _LEADING
        return tuple(lines)


def _broken(text: str, size: float, most: float, edge: Edge | None = None) -> list[tuple[str, float, Edge | None]]:
    return [(line, size, edge) for line in wrap(text, most, partial(_measure, size))]


def _measure(size: float, text: str) -> float:
    return text_width(text, size)


def compose(diagram: Diagram) -> Scene:
    """Give everything in ``diagram`` its place."""
    level = _Level(diagram, _sorted_by_level(diagram), None, 0)
    title: tuple[Line, ...] = ()
    top = _MARGIN
    width = level.width
    if diagram.title:
        text = _Text(tuple(_broken(diagram.title, 16.0, max(width, 420.0))))
        width = max(width, text.width)
        title = text.at(_MARGIN + width / 2, _MARGIN)
        top += text.height + 12
    scene = Scene(width + 2 * _MARGIN, top + level.height + _MARGIN, [], [], [], title, diagram.direction == "right")
    level.put(scene, _MARGIN + (width - level.width) / 2, top)
    return scene


# Which edges are drawn in which level, and between which of its boxes.


class _Lifted(NamedTuple):
    edge: Edge
    source: str
    dest: str


def _sorted_by_level(diagram: Diagram) -> dict[str | None, list[_Lifted]]:
    items = {item.id: item for item in diagram.items}

    def path(name: str) -> list[str]:
        outer = items[name].group
        return [*(path(outer) if outer is not None else []), name]

    paths = {name: path(name) for name in items}
    levels: dict[str | None, list[_Lifted]] = {}
    for edge in diagram.edges:
        one, other = paths[edge.source], paths[edge.dest]
        depth = 0
        while depth < min(len(one), len(other)) - 1 and one[depth] == other[depth]:
            depth += 1
        level = one[depth - 1] if depth else None
        levels.setdefault(level, []).append(_Lifted(edge, one[depth], other[depth]))
    return levels


class _Level:
    """The inside of one group, or the top: its boxes and arrows with places of their own."""

    def __init__(
        self, diagram: Diagram, edges: dict[str | None, list[_Lifted]], group: Group | None, depth: int
    ) -> None:
        self.diagram = diagram
        self.depth = depth
        self.down = diagram.direction == "down"
        self.members = diagram.members(group.id if group else None)
        self.number = {item.id: number for number, item in enumerate(self.members)}
        self.inner = {
            item.id: _Level(diagram, edges, item, depth + 1) for item in self.members if isinstance(item, Group)
        }
        self.texts = [self._label(item) for item in self.members]
        self.loops: dict[int, list[_Lifted]] = {}
        self.links: dict[tuple[int, int], list[_Lifted]] = {}
        for lifted in edges.get(group.id if group else None, ()):
            ends = self.number[lifted.source], self.number[lifted.dest]
            if ends[0] == ends[1]:
                self.loops.setdefault(ends[0], []).append(lifted)
            else:
                self.links.setdefault(ends, []).append(lifted)
        self.loop_texts = {number: self._told(loops) for number, loops in self.loops.items()}
        self.link_texts = {ends: self._told(links) for ends, links in self.links.items()}
        self.starts = [number for number, item in enumerate(self.members) if item.initial]
        self.sizes = [self._size(number, item) for number, item in enumerate(self.members)]
        self.arranged = self._arrange()
        size = self.arranged.across, self.arranged.along
        self.width, self.height = size if self.down else size[::-1]

    def _label(self, item: Node) -> _Text:
        lines = _broken(item.label, LABEL, _NODE_AT_MOST)
        return _Text((*lines, *(_broken(item.note, SMALL, _NODE_AT_MOST) if item.note else ())))

    def _told(self, edges: Sequence[_Lifted]) -> _Text:
        """Return what is written on an arrow: a line for each edge, and where it leads if that is further inside."""
        lines: list[tuple[str, float, Edge | None]] = []
        for edge, source, dest in edges:
            text = edge.text
            if edge.source != source:
                text += f" (from {one_line(self.diagram.find(edge.source).label)})"
            if edge.dest != dest:
                text += f" (to {one_line(self.diagram.find(edge.dest).label)})"
            if text.strip():
                lines += _broken(text.strip() if edge.text.strip() else text.lstrip(), SMALL + 0.5, _EDGE_AT_MOST, edge)
        return _Text(tuple(lines))

    def _size(self, number: int, item: Node) -> tuple[float, float]:
        text = self.texts[number]
        width, height = max(text.width + 2 * _PAD, 58.0), text.height + 2 * _PAD - 8
        if (inner := self.inner.get(item.id)) is not None:
            return max(width, inner.width + 2 * _PAD), text.height + inner.height + 3 * _PAD
        leaving = sum(1 for source, _ in self.links if source == number)
        coming = sum(1 for _, dest in self.links if dest == number)
        room = 13.0 * max(leaving, coming) + 18.0
        return (max(width, room), height) if self.down else (width, max(height, room))

    def _arrange(self) -> Arrangement:
        boxes = [_box(_DOT, _DOT, self.down) for _ in self.starts]
        for number, (width, height) in enumerate(self.sizes):
            box = _box(width, height, self.down)
            if number in self.loop_texts:
                text = self.loop_texts[number]
                across, along = (text.width, text.height) if self.down else (text.height, text.width)
                box = evolve(box, after=box.after + _LOOP + across + 10, along=max(box.along, along + 10))
            boxes.append(box)
        offset = len(self.starts)
        links = [Link(number, offset + start) for number, start in enumerate(self.starts)]
        for (source, dest), text in self.link_texts.items():
            width, height = (text.width + 8, text.height + 2) if text.lines else (0.0, 0.0)
            across, along = (width, height) if self.down else (height, width)
            # What is drawn as a side issue should not bend the rest.
            aside = all(one.edge.style != "solid" or one.edge.tone == "muted" for one in self.links[source, dest])
            links.append(Link(offset + source, offset + dest, across, along, 0.15 if aside else 1.0))
        return arrange(boxes, links)

    # Putting it into the picture.

    def put(self, scene: Scene, left: float, top: float) -> None:
        """Add everything of this level and those in it to ``scene``."""

        def at(across: float, along: float) -> Point:
            return Point(left + across, top + along) if self.down else Point(left + along, top + across)

        middles = [at(*middle) for middle in self.arranged.middles]
        offset = len(self.starts)
        scene.dots += [(middle, self.depth) for middle in middles[:offset]]
        for route in self.arranged.routes[:offset]:
            scene.arrows.append(Arrow((), tuple(at(*point) for point in route.points), None, (), self.depth))
        for (ends, text), route in zip(self.link_texts.items(), self.arranged.routes[offset:], strict=True):
            scene.arrows.append(self._arrow(self.links[ends], text, route, at))
        for number, item in enumerate(self.members):
            middle, (width, height) = middles[offset + number], self.sizes[number]
            rect = Rect(middle.x - width / 2, middle.y - height / 2, width, height)
            if number in self.loops:
                scene.arrows.append(self._loop(number, rect))
            text = self.texts[number]
            inner = self.inner.get(item.id)
            head = rect.y + (_PAD - 3 if inner is not None else (height - text.height) / 2)
            scene.placed.append(Placed(item, rect, text.at(middle.x, head), self.depth))
            if inner is not None:
                inner.put(scene, middle.x - inner.width / 2, rect.y + text.height + 2 * _PAD - 2)

    def _arrow(
        self, lifted: Sequence[_Lifted], text: _Text, route: Route, at: Callable[[float, float], Point]
    ) -> Arrow:
        points = tuple(at(*point) for point in route.points)
        edges = tuple(one.edge for one in lifted)
        if route.label is None:
            return Arrow(edges, points, None, (), self.depth)
        middle = at(*route.label)
        rect = Rect(middle.x - text.width / 2 - 4, middle.y - text.height / 2 - 1, text.width + 8, text.height + 2)
        return Arrow(edges, points, rect, text.at(middle.x, rect.y + 1), self.depth)

    def _loop(self, number: int, rect: Rect) -> Arrow:
        text, edges = self.loop_texts[number], tuple(one.edge for one in self.loops[number])
        if self.down:
            x, y, swing = rect.x + rect.width, rect.y + rect.height / 2, min(rect.height / 4, 10.0)
            points = (
                Point(x, y - swing),
                Point(x + 28, y - 2 * swing),
                Point(x + 28, y + 2 * swing),
                Point(x, y + swing),
            )
            label = Rect(x + _LOOP, y - text.height / 2 - 1, text.width + 8, text.height + 2)
        else:
            x, y, swing = rect.x + rect.width / 2, rect.y + rect.height, min(rect.width / 4, 10.0)
            points = (
                Point(x - swing, y),
                Point(x - 2 * swing, y + 28),
                Point(x + 2 * swing, y + 28),
                Point(x + swing, y),
            )
            label = Rect(x - text.width / 2 - 4, y + _LOOP, text.width + 8, text.height + 2)
        lines = text.at(label.x + label.width / 2, label.y + 1)
        return Arrow(edges, points, label if text.lines else None, lines, self.depth, True)


def _box(width: float, height: float, down: bool) -> Box:
    across, along = (width, height) if down else (height, width)
    return Box(across / 2, across / 2, along, across / 2, along)
