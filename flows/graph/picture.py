"""A still picture of a graph's most connected part, as SVG: for README, and for Prefect's page, which runs no script."""

from math import sqrt
from xml.sax.saxutils import escape

from flows.graph.layout import Place, places
from flows.graph.merged import MergedGraph
from flows.graph.rdf import xml_text

# As the page has them, the commonest classes first.
COLOURS = (
    "#3b78b8", "#d9822b", "#3f9a6c", "#c2506b", "#8263b3", "#b99a1f", "#2f9aa8", "#a5643d", "#6f8f2f", "#cf6fae", "#5b6fd0",
    "#7d7f86",
)  # fmt: skip
WIDTH, HEIGHT, MARGIN, LEGEND = 960, 600, 48, 150
# Entities, classes in the legend, and characters of a name.
MOST, CLASSES, NAME = 60, 24, 26
Box = tuple[float, float, float, float]


def svg(graph: MergedGraph, most: int = MOST) -> str:
    """Return the most connected entities, at most so many, with their relations, coloured by class, with a legend."""
    connected = list(graph.nodes("WHERE degree > 0 ORDER BY degree DESC, documents DESC, n LIMIT ?", (most,)))
    # What stands alone is left out, unless all do.
    nodes = connected or list(graph.nodes("ORDER BY documents DESC, n LIMIT ?", (most,)))
    index = {node.number: place for place, node in enumerate(nodes)}
    edges = [
        (index[edge.subject], index[edge.object], graph.label(edge.predicate))
        for edge in graph.edges("WHERE edge.object IS NOT NULL ORDER BY e")
        if edge.subject in index and edge.object in index
    ]
    kinds: dict[str, int] = {}
    for node in nodes:
        kind = node.types[0] if node.types else ""
        kinds[kind] = kinds.get(kind, 0) + 1
    ranked = sorted(kinds, key=lambda kind: (-kinds[kind], kind))
    colours = {kind: _colour(number) for number, kind in enumerate(ranked)}
    spots = _fitted(places(len(nodes), [edge[:2] for edge in edges]))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
        ' font-family="system-ui, Segoe UI, DejaVu Sans, sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="14" fill="#fbfaf7"/>',
    ]
    for one, other, label in edges:
        (x1, y1), (x2, y2) = spots[one], spots[other]
        line = f'x1="{x1:.0f}" y1="{y1:.0f}" x2="{x2:.0f}" y2="{y2:.0f}"'
        parts.append(f'<line {line} stroke="#a9adb5" stroke-width="1.1"><title>{_text(label)}</title></line>')
    radii = [4.5 + min(11.0, 2.4 * sqrt(node.degree)) for node in nodes]
    taken: list[Box] = [(x - r, y - r, x + r, y + r) for (x, y), r in zip(spots, radii, strict=True)]
    names = []
    for node, (x, y), radius in zip(nodes, spots, radii, strict=True):
        colour = colours[node.types[0] if node.types else ""]
        parts.append(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{radius:.1f}" fill="{colour}" stroke="#fbfaf7" stroke-width="1.5"/>')
        name = node.name if len(node.name) <= NAME else node.name[: NAME - 1] + "…"
        spot = _room(name, x, y, radius, taken)
        if spot is not None:
            names.append(f'<text x="{spot[0]:.0f}" y="{spot[1]:.0f}" text-anchor="middle">{_text(name)}</text>')
    parts.append('<g fill="#22262d" stroke="#fbfaf7" stroke-width="3" paint-order="stroke" stroke-linejoin="round">')
    parts += [*names, "</g>"]
    for number, kind in enumerate(ranked[:CLASSES]):
        y = MARGIN + number * 21
        parts.append(f'<circle cx="24" cy="{y}" r="5.5" fill="{colours[kind]}"/>')
        label = graph.label(kind) if kind else "without a class"
        parts.append(f'<text x="38" y="{y + 4}" fill="#4b515b">{_text(label)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _colour(number: int) -> str:
    return COLOURS[number] if number < len(COLOURS) else f"hsl({round(number * 137.5) % 360} 38% 72%)"


def _fitted(spots: list[Place]) -> list[Place]:
    """Return the places stretched over the picture, beside the legend."""
    if not spots:
        return []
    xs, ys = [x for x, _ in spots], [y for _, y in spots]
    width, height = max(xs) - min(xs) or 1, max(ys) - min(ys) or 1
    across, down = (WIDTH - LEGEND - 2 * MARGIN) / width, (HEIGHT - 2 * MARGIN) / height
    return [(LEGEND + MARGIN + (x - min(xs)) * across, MARGIN + (y - min(ys)) * down) for x, y in spots]


def _room(name: str, x: float, y: float, radius: float, taken: list[Box]) -> Place | None:
    """Return where a name fits beside its node: below, above, right or left; None if it fits nowhere."""
    half = len(name) * 3.1 + 2
    for dx, dy in ((0, radius + 12), (0, -radius - 4), (radius + half + 3, 4), (-radius - half - 3, 4)):
        box = (x + dx - half, y + dy - 10, x + dx + half, y + dy + 3)
        inside = box[0] > 4 and box[2] < WIDTH - 4
        if inside and not any(box[0] < o[2] and box[2] > o[0] and box[1] < o[3] and box[3] > o[1] for o in taken):
            taken.append(box)
            return x + dx, y + dy
    return None


def _text(text: str) -> str:
    return escape(xml_text(" ".join(text.split())))
