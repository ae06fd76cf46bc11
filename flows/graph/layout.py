"""Where nodes lie in a picture: each island laid out by springs, the islands side by side, the largest in the middle."""

from collections.abc import Sequence
from math import cos, hypot, pi, sin, sqrt

Place = tuple[float, float]
# The room that a node takes, and what lies between two islands.
NODE, GAP = 60.0, 90.0


def places(size: int, edges: Sequence[tuple[int, int]]) -> list[Place]:
    """Return a place for each of the nodes 0 to ``size - 1``, always the same, about 60 units apart."""
    import rustworkx

    graph = rustworkx.PyGraph(multigraph=False)
    graph.add_nodes_from(range(size))
    graph.add_edges_from_no_data([(one, other) for one, other in edges if one != other])
    islands = sorted((sorted(island) for island in rustworkx.connected_components(graph)), key=lambda each: (-len(each), each))
    found: list[Place] = [(0.0, 0.0)] * size
    taken: list[tuple[float, float, float]] = []
    for island in islands:
        own = _island(rustworkx, graph, island)
        radius = max(hypot(x, y) for x, y in own) + GAP / 2
        middle = _free(radius, taken)
        taken.append((*middle, radius))
        for node, (x, y) in zip(island, own, strict=True):
            found[node] = (middle[0] + x, middle[1] + y)
    return found


def _island(rustworkx: object, graph: object, island: Sequence[int]) -> list[Place]:
    """Return the island's nodes around its middle."""
    if len(island) == 1:
        return [(0.0, 0.0)]
    part = graph.subgraph(list(island))  # type: ignore[attr-defined]
    if len(island) <= 150:
        # By distances along edges: even for few nodes, slow for many.
        start = {
            number: (cos(2 * pi * number / len(island)), sin(2 * pi * number / len(island))) for number in range(len(island))
        }
        layout = rustworkx.spring_layout(part, pos=start, seed=7, num_iter=300, k=1.6 / sqrt(len(island)))  # type: ignore[attr-defined]
    else:
        layout = rustworkx.spring_layout(part, seed=7, num_iter=120)  # type: ignore[attr-defined]
    raw = [(float(layout[number][0]), float(layout[number][1])) for number in range(len(island))]
    x0, y0 = (sum(place[axis] for place in raw) / len(raw) for axis in (0, 1))
    spread = max(hypot(x - x0, y - y0) for x, y in raw) or 1.0
    scale = NODE * sqrt(len(island)) / spread
    return [((x - x0) * scale, (y - y0) * scale) for x, y in raw]


def _free(radius: float, taken: Sequence[tuple[float, float, float]]) -> Place:
    """Return the middle of the first free circle of this radius on a spiral around the first island; wider than it is high."""
    if not taken:
        return 0.0, 0.0
    step = 0
    while True:
        angle, away = step * 0.35, step * radius * 0.08
        x, y = away * cos(angle) * 1.5, away * sin(angle)
        if all(hypot(x - ox, y - oy) >= radius + other for ox, oy, other in taken):
            return x, y
        step += 1
