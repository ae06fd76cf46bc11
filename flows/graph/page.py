"""The merged graph as one page that needs nothing else: a picture to move in, with the sentences behind each node and edge.

The data stand in the page as JSON that is never run, and the script shows them as text alone; the page's policy allows its
own script and style by their hashes, and nothing from anywhere else.
"""

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Any, TextIO

from flows.graph.layout import places
from flows.graph.merged import MergedGraph
from flows.graph.parts import Node

# Nodes that are shown at first, and those that the page holds to be searched: the most connected ones.
FIRST, MOST = 1_500, 20_000
# Sentences of a node or an edge, and characters around their quotes.
SENTENCES, AROUND = 5, 240
# What JSON may not hold inside of a page: ends of scripts, comments, and line ends that only JavaScript knows.
_ESCAPED = {ord(each): f"\\u{ord(each):04x}" for each in "<>&\u2028\u2029"}


def write_page(graph: MergedGraph, file: TextIO, first: int = FIRST, most: int = MOST) -> int:
    """Write the page. Returns the number of nodes in it."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    templates = Environment(loader=PackageLoader("flows.graph", "templates"), autoescape=True, undefined=StrictUndefined)
    script, style = ((files("flows.graph") / "templates" / name).read_text(encoding="utf-8") for name in ("page.js", "page.css"))
    held = min(graph.count("node"), most)
    page = templates.get_template("page.html").generate(
        title=" and ".join(graph.batch_ids),
        script=Markup(script),  # noqa: S704 - our own file
        style=Markup(style),  # noqa: S704
        script_hash=_hash(script),
        style_hash=_hash(style),
        data=(Markup(part.translate(_ESCAPED)) for part in _data(graph, first, most)),  # noqa: S704 - escaped here
    )
    for part in page:
        file.write(part)
    return held


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _data(graph: MergedGraph, first: int, most: int) -> Iterator[str]:
    """Yield the page's data as JSON, in parts."""
    graph.read_sentences()
    most_connected = "ORDER BY degree DESC, documents DESC, n LIMIT ?"
    index = {node.number: place for place, node in enumerate(graph.nodes(most_connected, (most,)))}
    shown = places(min(first, len(index)), _pairs(graph, first))
    classes = _classes(graph)
    head = {
        "batches": graph.batch_ids,
        "merged": graph.is_merged,
        "totals": {each: graph.count(each) for each in ("node", "document", "mention")},
        "first": len(shown),
        "classes": [[graph.label(iri) if iri else "without a class", count] for iri, count in classes.items()],
    }
    yield _json(head)[:-1] + ',\n"nodes": ['
    numbers = {iri: number for number, iri in enumerate(classes)}
    for node in graph.nodes(most_connected, (most,)):
        place = index[node.number]
        x, y = shown[place] if place < len(shown) else (None, None)
        kind = numbers[node.types[0] if node.types else ""]
        rounded = (None, None) if x is None or y is None else (round(x, 1), round(y, 1))
        row = [node.name, kind, round(node.confidence, 3), node.documents, *rounded, _facts(graph, node), *_mentions(graph, node)]
        yield ("," if place else "") + "\n" + _json(row)
    yield '\n],\n"edges": ['
    separator = ""
    labels: dict[str, int] = {}
    for edge in graph.edges("WHERE edge.object IS NOT NULL ORDER BY e"):
        if edge.subject in index and edge.object in index:
            label = labels.setdefault(edge.predicate, len(labels))
            said = _sentences(graph, *_OF_EDGE, (edge.subject, edge.predicate, edge.object))
            row = [index[edge.subject], index[edge.object], label, round(edge.confidence, 3), edge.documents, said]
            yield separator + "\n" + _json(row)
            separator = ","
    yield '\n],\n"labels": ' + _json([graph.label(iri) for iri in labels]) + "}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _pairs(graph: MergedGraph, first: int) -> list[tuple[int, int]]:
    """Return the edges among the nodes that are shown at first, by their places."""
    query = (
        "WITH shown AS (SELECT n, row_number() OVER (ORDER BY degree DESC, documents DESC, n) - 1 AS place FROM node"
        " ORDER BY degree DESC, documents DESC, n LIMIT ?)"
        " SELECT DISTINCT s.place, o.place FROM edge JOIN shown s ON s.n = edge.subject JOIN shown o ON o.n = edge.object"
        " ORDER BY 1, 2"
    )
    return [(row[0], row[1]) for row in graph.rows(query, (first,))]


def _classes(graph: MergedGraph) -> dict[str, int]:
    """Return the nodes' main classes and how many have each, the commonest first."""
    query = "SELECT coalesce(json_extract(types, '$[0]'), '') AS iri, count(*) FROM node GROUP BY iri ORDER BY 2 DESC, 1"
    return dict(graph.rows(query))


def _facts(graph: MergedGraph, node: Node) -> list[list[Any]]:
    """Return a node's attributes and literals, the latter with their sentences."""
    found: list[list[Any]] = [[key, str(value), []] for key, values in node.attributes.items() for value in values]
    for edge in graph.edges("WHERE edge.subject = ? AND edge.object IS NULL ORDER BY e", (node.number,)):
        said = _sentences(graph, *_OF_LITERAL, (edge.subject, edge.predicate, edge.object_name, edge.datatype))
        found.append([graph.label(edge.predicate), edge.object_name, said])
    return found


def _mentions(graph: MergedGraph, node: Node) -> tuple[list[Any]]:
    return (_sentences(graph, *_OF_NODE, (node.number,)),)


_OF_NODE = ("mention", "q.n = ?")
_OF_EDGE = ("statement", "q.subject = ? AND q.predicate = ? AND q.object = ?")
_OF_LITERAL = ("statement", "q.subject = ? AND q.predicate = ? AND q.object IS NULL AND q.literal = ? AND q.datatype IS ?")


def _sentences(graph: MergedGraph, table: str, where: str, parameters: Sequence[Any]) -> list[list[str]]:
    """Return the most certain place of each document: the document, and its sentence before, in and after the quote."""
    query = (
        "SELECT document_id, q.start, q.end, q.quote, s.start, s.text, max(q.confidence)"  # noqa: S608 - of this module
        f" FROM {table} q JOIN document USING (d) LEFT JOIN sentence s ON s.d = q.d AND s.start <= q.start AND s.end > q.start"
        f" WHERE {where} GROUP BY q.d ORDER BY max(q.confidence) DESC, q.d LIMIT {SENTENCES}"
    )
    found = []
    for document_id, start, end, quote, begin, text, _ in graph.rows(query, parameters):
        before, after = ("", "") if text is None else (text[: start - begin], text[end - begin :])
        found.append([document_id, _last(before.lstrip()), (quote or "").strip(), _first(after.rstrip())])
    return found


def _last(text: str) -> str:
    return text if len(text) <= AROUND else "…" + text[-AROUND:]


def _first(text: str) -> str:
    return text if len(text) <= AROUND else text[:AROUND] + "…"
