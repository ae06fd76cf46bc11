"""A merged graph for graph tools, streamed: GraphML, Neo4j's import files and Cypher, JSON as node-link data.

An edge leads from an entity to an entity; what leads to a literal is a property of its subject, under the label of the
relation, as attributes are.
"""

import csv
import json
import re
from collections.abc import Iterator
from typing import Any, TextIO
from xml.sax.saxutils import escape, quoteattr

from flows.graph.merged import MergedGraph
from flows.graph.parts import Edge, Node
from flows.graph.rdf import xml_text

ENTITY = "Entity"


def write_graphml(graph: MergedGraph, file: TextIO) -> int:
    """GraphML for Gephi, yEd, Cytoscape. Returns the number of nodes and edges."""
    properties = {name: f"p{number}" for number, name in enumerate(_property_names(graph, _words, _NODE_KEYS))}
    file.write('<?xml version="1.0" encoding="UTF-8"?>\n<graphml xmlns="http://graphml.graphdrawing.org/xmlns">\n')
    declared = [(name, "node", name, kind) for name, kind in _NODE_KEYS.items()]
    declared += [(key, "node", name, "string") for name, key in properties.items()]
    declared += [(f"e_{name}", "edge", name, kind) for name, kind in _EDGE_KEYS.items()]
    for key, of, name, kind in declared:
        file.write(f'<key id={_attribute(key)} for="{of}" attr.name={_attribute(name)} attr.type="{kind}"/>\n')
    file.write('<graph edgedefault="directed">\n')
    written = 0
    for node in graph.nodes():
        values: dict[str, Any] = {"label": node.name, "type": _type_label(graph, node), "documents": node.documents}
        values |= {"confidence": node.confidence, "iri": node.types[0] if node.types else None}
        for name, found in _properties(graph, node, _words, _NODE_KEYS).items():
            values[properties[name]] = "; ".join(found)
        file.write(f"<node id={_attribute(node.id)}>{_data(values)}</node>\n")
        written += 1
    for edge in _edges(graph):
        values = {"e_label": graph.label(edge.predicate), "e_type": edge.predicate, "e_documents": edge.documents}
        values |= {"e_confidence": edge.confidence, "e_evidence": _quote(graph, edge)}
        ends = f"source={_attribute(edge.subject_id)} target={_attribute(str(edge.object_id))}"
        file.write(f'<edge id="e{edge.number}" {ends}>{_data(values)}</edge>\n')
        written += 1
    file.write("</graph>\n</graphml>\n")
    return written


def write_node_link(graph: MergedGraph, file: TextIO) -> int:
    """Node-link JSON, as networkx, d3 and others read it, a node or edge a line. Returns how many those are."""
    written = 0
    file.write('{"directed": true, "multigraph": true, "graph": {}, "nodes": [')
    for node in graph.nodes():
        file.write(("," if written else "") + "\n" + json.dumps(node_data(graph, node), ensure_ascii=False))
        written += 1
    file.write('\n], "links": [')
    nodes = written
    for edge in _edges(graph):
        line = json.dumps(edge_data(graph, edge), ensure_ascii=False)
        file.write(("," if written > nodes else "") + "\n" + line)
        written += 1
    file.write("\n]}\n")
    return written


def node_data(graph: MergedGraph, node: Node) -> dict[str, Any]:
    """Return a node for JSON and networkx."""
    return {
        "id": node.id,
        "label": node.name,
        "type": _type_label(graph, node),
        "types": list(node.types),
        "documents": node.documents,
        "confidence": node.confidence,
        "properties": _properties(graph, node, _words, {}),
    }


def edge_data(graph: MergedGraph, edge: Edge) -> dict[str, Any]:
    """Return an edge for JSON and networkx; several between two nodes differ by their predicate."""
    return {
        "source": edge.subject_id,
        "target": edge.object_id,
        "key": edge.predicate,
        "label": graph.label(edge.predicate),
        "documents": _document_ids(graph, edge),
        "confidence": edge.confidence,
        "evidence": _quote(graph, edge),
    }


def write_neo4j(graph: MergedGraph, nodes: TextIO, relationships: TextIO) -> int:
    """Write the two files of ``neo4j-admin database import full``, with their headers. Return the number of their rows."""
    reserved = {"id": "", "name": "", "iri": "", "documents": "", "confidence": ""}
    names = list(_property_names(graph, _camel, reserved))
    writer = csv.writer(nodes, lineterminator="\n")
    writer.writerow(
        [f"id:ID({ENTITY})", "name", "documents:string[]", "confidence:double", *(f"{n}:string[]" for n in names), ":LABEL"]
    )
    written = 0
    for node in graph.nodes():
        properties = _properties(graph, node, _camel, reserved)
        cells = [_array(properties.get(name, [])) for name in names]
        labels = ";".join([ENTITY, *dict.fromkeys(_pascal(graph, iri) for iri in node.types)])
        writer.writerow([node.id, _line(node.name), _array(_documents_of(graph, node)), node.confidence, *cells, labels])
        written += 1
    writer = csv.writer(relationships, lineterminator="\n")
    ends = (f":START_ID({ENTITY})", f":END_ID({ENTITY})")
    writer.writerow([*ends, "confidence:double", "evidence", "documents:string[]", "predicate", ":TYPE"])
    for edge in _edges(graph):
        documents = _array(_document_ids(graph, edge))
        said = _line(_quote(graph, edge) or "")
        kind = _upper(graph, edge.predicate)
        writer.writerow([edge.subject_id, edge.object_id, edge.confidence, said, documents, edge.predicate, kind])
        written += 1
    return written


def write_cypher(graph: MergedGraph, file: TextIO) -> int:
    """Cypher that may be run again: ``cypher-shell < FILE``. Returns the number of nodes and relationships."""
    reserved = {"id": "", "name": "", "documents": "", "confidence": ""}
    file.write(f"CREATE CONSTRAINT entity_id IF NOT EXISTS FOR (n:{ENTITY}) REQUIRE n.id IS UNIQUE;\n")
    written = 0
    for node in graph.nodes():
        labels = "".join(f":{_ticked(_pascal(graph, iri))}" for iri in dict.fromkeys(node.types))
        values = {"name": node.name, "confidence": node.confidence, "documents": _documents_of(graph, node)}
        values |= _properties(graph, node, _camel, reserved)
        given = ", ".join(f"n.{_ticked(name)} = {json.dumps(value, ensure_ascii=False)}" for name, value in values.items())
        file.write(f"MERGE (n:{ENTITY} {{id: {json.dumps(node.id)}}}) SET {f'n{labels}, ' if labels else ''}{given};\n")
        written += 1
    for edge in _edges(graph):
        values = {"predicate": edge.predicate, "confidence": edge.confidence, "documents": _document_ids(graph, edge)}
        values |= {"evidence": _quote(graph, edge)}
        given = ", ".join(f"r.{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in values.items())
        ends = f"(a:{ENTITY} {{id: {json.dumps(edge.subject_id)}}}), (b:{ENTITY} {{id: {json.dumps(edge.object_id)}}})"
        file.write(f"MATCH {ends} MERGE (a)-[r:{_ticked(_upper(graph, edge.predicate))}]->(b) SET {given};\n")
        written += 1
    return written


_NODE_KEYS = {"label": "string", "type": "string", "iri": "string", "documents": "int", "confidence": "double"}
_EDGE_KEYS = {"label": "string", "type": "string", "documents": "int", "confidence": "double", "evidence": "string"}


def _edges(graph: MergedGraph) -> Iterator[Edge]:
    """Return the edges between entities."""
    return graph.edges("WHERE edge.object IS NOT NULL ORDER BY e")


def _quote(graph: MergedGraph, edge: Edge) -> str | None:
    """Return the quote of the most certain document of an edge."""
    return max(graph.evidence(edge), key=lambda each: each.confidence).quote


def _document_ids(graph: MergedGraph, edge: Edge) -> list[str]:
    return list(dict.fromkeys(each.document_id for each in graph.evidence(edge)))


def _documents_of(graph: MergedGraph, node: Node) -> list[str]:
    return list(dict.fromkeys(each.document_id for each in graph.mentions(node)))


def _type_label(graph: MergedGraph, node: Node) -> str | None:
    return graph.label(node.types[0]) if node.types else None


def _properties(graph: MergedGraph, node: Node, named: Any, reserved: dict[str, str]) -> dict[str, list[str]]:
    """Return a node's attributes and literals by name."""
    found: dict[str, list[str]] = {}
    for key, values in node.attributes.items():
        found.setdefault(_free(named(key), reserved), []).extend(str(value) for value in values)
    for edge in graph.edges("WHERE edge.subject = ? AND edge.object IS NULL ORDER BY e", (node.number,)):
        found.setdefault(_free(named(graph.label(edge.predicate)), reserved), []).append(edge.object_name)
    return {name: list(dict.fromkeys(values)) for name, values in found.items()}


def _property_names(graph: MergedGraph, named: Any, reserved: dict[str, str]) -> Iterator[str]:
    """Return the names of all properties, each once."""
    keys = [row[0] for row in graph.rows("SELECT DISTINCT key FROM node, json_each(node.attributes) ORDER BY 1")]
    keys += [graph.label(row[0]) for row in graph.rows("SELECT DISTINCT predicate FROM edge WHERE object IS NULL ORDER BY 1")]
    return iter(dict.fromkeys(_free(named(key), reserved) for key in keys))


def _free(name: str, reserved: dict[str, str]) -> str:
    return f"{name}_" if name in reserved else name


def _data(values: dict[str, Any]) -> str:
    shown = {key: value for key, value in values.items() if value is not None}
    return "".join(f"<data key={_attribute(key)}>{escape(xml_text(str(value)))}</data>" for key, value in shown.items())


def _attribute(text: str) -> str:
    return quoteattr(xml_text(text))


def _line(text: str) -> str:
    """Return a text on one line: Neo4j's import stops at a line's end in a field."""
    return " ".join(text.split())


def _array(values: list[str]) -> str:
    return ";".join(_line(value).replace(";", ",") for value in values)


def _words(text: str) -> str:
    return text


def _parts(text: str) -> list[str]:
    return re.findall(r"\w+", text) or ["unnamed"]


def _camel(text: str) -> str:
    first, *rest = _parts(text)
    return first[:1].lower() + first[1:] + "".join(part[:1].upper() + part[1:] for part in rest)


def _pascal(graph: MergedGraph, iri: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in _parts(graph.label(iri)))


def _upper(graph: MergedGraph, iri: str) -> str:
    return "_".join(part.upper() for part in _parts(graph.label(iri)))


def _ticked(name: str) -> str:
    """Return a name as Cypher takes any: `_parts` leaves no backtick in it."""
    return f"`{name}`"
