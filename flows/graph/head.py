"""The head of a graph in Markdown, for Prefect's page: a picture, the most connected entities, the commonest relations."""

import base64

from compat.markdown import escaped
from flows.graph.merged import MergedGraph
from flows.graph.picture import svg

# Entities and relations that are named, and characters of a sentence.
MOST, SENTENCE = 8, 160


def markdown(graph: MergedGraph) -> str:
    """Return a picture and two tables, or an empty text for an empty graph."""
    if not graph.count("node"):
        return ""
    picture = base64.b64encode(svg(graph, most=40).encode()).decode()
    lines = [f"![The most connected entities](data:image/svg+xml;base64,{picture})", ""]
    lines += ["| Most connected | Class | Relations | Documents |", "|---|---|---|---|"]
    for node in graph.nodes("ORDER BY degree DESC, documents DESC, n LIMIT ?", (MOST,)):
        kind = graph.label(node.types[0]) if node.types else ""
        lines.append(f"| {escaped(node.name)} | {escaped(kind)} | {node.degree} | {node.documents} |")
    commonest = graph.rows("SELECT predicate, count(*), min(e) FROM edge GROUP BY predicate ORDER BY 2 DESC, 1 LIMIT ?", (MOST,))
    rows = []
    for predicate, count, first in commonest:
        [edge] = graph.edges("WHERE e = ?", (first,))
        best = max(graph.evidence(edge), key=lambda each: each.confidence)
        quote = best.quote or f"{edge.subject_name}: {edge.object_name}"
        quote = quote if len(quote) <= SENTENCE else quote[: SENTENCE - 1] + "…"
        rows.append(f"| {escaped(graph.label(predicate))} | {count} | {escaped(quote)} | {escaped(best.document_id)} |")
    if rows:
        lines += ["", "| Relation | Triples | For example | Document |", "|---|---|---|---|", *rows]
    return "\n".join(lines)
