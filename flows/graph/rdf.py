"""A merged graph as RDF, streamed: Turtle, TriG, N-Triples, N-Quads, JSON-LD and RDF/XML.

The default graph has each thing once, with the ontology's labels. Where a format names graphs, beside it are the documents'
own graphs (CONTRACT 9.7), their provenance, and the evidence: for each triple, document and span a node that is both
``rdf:Statement`` and ``oa:Annotation``. There are no blank nodes, and a repeated export is the same bytes.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TextIO
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

from rdflib import PROV, RDF, RDFS, XSD

from compat.contracts import ExtractionResult
from compat.errors import InvalidInputError, Problem
from flows.graph.merged import Edge, Evidence, MergedGraph

BEEP = "urn:beep:"
OA = "http://www.w3.org/ns/oa#"
SHA256 = "https://schema.org/sha256"


@dataclass(frozen=True, slots=True)
class Literal:
    """A literal; without a datatype a plain string."""

    text: str
    datatype: str | None = None


# An IRI is a string. Beside a subject stand its predicates and objects.
Statements = list[tuple[str, str | Literal]]
Block = tuple[str | None, str, Statements]


def write_turtle(graph: MergedGraph, file: TextIO, evidence: bool, named: bool) -> int:
    """Turtle, or TriG where graphs are ``named``. Returns the number of triples."""
    names = _Names(graph, evidence or named)
    written = 0
    for prefix, iri in names.prefixes.items():
        file.write(f"@prefix {prefix}: <{_iri(iri)}> .\n")
    current: str | None = None
    for name, subject, statements in _blocks(graph, evidence, named):
        name = name if named else None
        if name != current:
            file.write(("}\n" if current else "") + (f"\n{names.turtle(name)} {{\n" if name else ""))
            current = name
        file.write(f"\n{names.turtle(subject)}")
        before = None
        for predicate, value in statements:
            shown = "a" if predicate == str(RDF.type) else names.turtle(predicate)
            separator = ", " if predicate == before else (" ;\n    " if before else " ") + shown + " "
            file.write(separator + (names.turtle(value) if isinstance(value, str) else names.literal(value)))
            before = predicate
            written += 1
        file.write(" .\n")
    file.write("}\n" if current else "")
    return written


def write_lines(graph: MergedGraph, file: TextIO, evidence: bool, named: bool) -> int:
    """N-Triples, or N-Quads where graphs are ``named``. Returns the number of triples."""
    written = 0
    for name, subject, statements in _blocks(graph, evidence, named):
        ending = f" <{_iri(name)}> .\n" if name and named else " .\n"
        for predicate, value in statements:
            shown = f"<{_iri(value)}>" if isinstance(value, str) else _literal(value)
            file.write(f"<{_iri(subject)}> <{_iri(predicate)}> {shown}{ending}")
            written += 1
    return written


def write_json_ld(graph: MergedGraph, file: TextIO, evidence: bool, named: bool) -> int:
    """JSON-LD with a context, a node a line. Returns the number of triples."""
    names = _Names(graph, evidence or named)
    context = {prefix: iri if iri[-1:] in ":/?#[]@" else {"@id": iri, "@prefix": True} for prefix, iri in names.json_ld.items()}
    file.write('{"@context": ' + json.dumps(context, ensure_ascii=False, indent=1) + ',\n"@graph": [')
    written, before = 0, ""
    current: str | None = None
    for name, subject, statements in _blocks(graph, evidence, named):
        if name != current:
            file.write(("\n]}" if current else "") + ",\n" + json.dumps({"@id": name, "@graph": []})[:-2])
            current, before = name, ""
        node: dict[str, object] = {"@id": names.compact(subject)}
        for predicate, value in statements:
            if predicate == str(RDF.type) and isinstance(value, str):
                node.setdefault("@type", []).append(names.compact(value))  # type: ignore[attr-defined]
                continue
            node.setdefault(names.compact(predicate), []).append(names.json_value(value))  # type: ignore[attr-defined]
        file.write(before + "\n" + json.dumps(node, ensure_ascii=False))
        before = ","
        written += len(statements)
    file.write(("\n]}" if current else "") + "\n]}\n")
    return written


def write_rdf_xml(graph: MergedGraph, file: TextIO, evidence: bool, named: bool) -> int:
    """RDF/XML; what XML can't hold is replaced by U+FFFD. Raises InvalidInputError where a property has no name in it."""
    names = _Names(graph, evidence)
    # An empty prefix would be the default namespace, which is as good.
    declared = {prefix: iri for prefix, iri in names.prefixes.items() if prefix not in ("", "p", "rdf", "xml")}
    known = {str(RDF): "rdf"} | {iri: prefix for prefix, iri in declared.items()}
    spaces = "".join(f"\n    xmlns:{prefix}={_attribute(iri)}" for prefix, iri in declared.items())
    file.write(f'<?xml version="1.0" encoding="UTF-8"?>\n<rdf:RDF xmlns:rdf={_attribute(str(RDF))}{spaces}>\n')
    written = 0
    for _, subject, statements in _blocks(graph, evidence, named=False):
        file.write(f"<rdf:Description rdf:about={_attribute(_iri(subject))}>\n")
        for predicate, value in statements:
            found = _XML_NAME.search(_iri(predicate))
            if found is None:
                advice = f"RDF/XML can't name the property {predicate}; export to .ttl or .jsonld"
                raise InvalidInputError([Problem("--to", ".rdf", advice)])
            space, local = _iri(predicate)[: found.start()], found.group()
            element = f"{known.get(space, 'p')}:{local}"
            declaration = "" if space in known else f" xmlns:p={_attribute(space)}"
            if isinstance(value, str):
                file.write(f"  <{element}{declaration} rdf:resource={_attribute(_iri(value))}/>\n")
            else:
                kind = f" rdf:datatype={_attribute(_iri(value.datatype))}" if value.datatype else ""
                file.write(f"  <{element}{declaration}{kind}>{escape(xml_text(value.text), {chr(13): '&#13;'})}</{element}>\n")
            written += 1
        file.write("</rdf:Description>\n")
    file.write("</rdf:RDF>\n")
    return written


def xml_text(text: str) -> str:
    """Return a text without the characters that XML 1.0 forbids, each replaced by U+FFFD."""
    return _NOT_XML.sub("\ufffd", text)


def entity_iri(id: str) -> str:
    """Return the IRI of an entity."""
    return _beep("entity", id)


# --- What is written --------------------------------------------------------------------------------------------------


def _blocks(graph: MergedGraph, evidence: bool, named: bool) -> Iterator[Block]:
    """Yield all subjects with their statements: those of the default graph, then those of each named graph in turn."""
    yield from _default(graph)
    if evidence or named:
        yield from _evidence(graph)
        yield from _provenance(graph)
    if named:
        yield from _documents(graph)


def _default(graph: MergedGraph) -> Iterator[Block]:
    edges = graph.edges()
    edge = next(edges, None)
    for node in graph.nodes():
        statements: Statements = [(str(RDF.type), kind) for kind in node.types]
        statements.append((str(RDFS.label), Literal(node.name)))
        for key, values in node.attributes.items():
            statements += [(_attribute_iri(key), _value(value)) for value in values]
        while edge is not None and edge.subject == node.number:
            statements.append((edge.predicate, _object(edge)))
            edge = next(edges, None)
        yield None, entity_iri(node.id), statements
    for iri in _terms(graph):
        yield None, iri, [(str(RDFS.label), Literal(graph.label(iri)))]


def _terms(graph: MergedGraph) -> Iterator[str]:
    """Return the classes and properties that the graph uses, sorted."""
    query = "SELECT value FROM node, json_each(node.types) UNION SELECT predicate FROM edge ORDER BY 1"
    return (str(row[0]) for row in graph.rows(query))


def _evidence(graph: MergedGraph) -> Iterator[Block]:
    name = f"{BEEP}evidence"
    for node in graph.nodes():
        triple = (entity_iri(node.id), str(RDFS.label), Literal(node.name))
        for found in _distinct(graph.mentions(node)):
            yield from _annotation(name, triple, found)
    for edge in graph.edges():
        for found in _distinct(graph.evidence(edge)):
            yield from _annotation(name, (entity_iri(edge.subject_id), edge.predicate, _object(edge)), found)


def _distinct(found: Iterable[Evidence]) -> Iterator[Evidence]:
    """Return one statement per document and span, the most certain; a document may state the same of two of its entities."""
    best: dict[tuple[str, str, int | None, int | None], Evidence] = {}
    for each in found:
        key = (each.batch_id, each.document_id, each.start, each.end)
        if key not in best or each.confidence > best[key].confidence:
            best[key] = each
    return iter(best.values())


def _annotation(name: str, triple: tuple[str, str, str | Literal], found: Evidence) -> Iterator[Block]:
    """Yield the statements about one triple, document and span; the IRI is their hash."""
    subject, predicate, value = triple
    shown = value if isinstance(value, str) else [value.text, value.datatype]
    key = json.dumps([subject, predicate, shown, found.extraction_id, found.start, found.end])
    iri = f"{BEEP}evidence:{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()}"
    statements: Statements = [
        (str(RDF.type), str(RDF.Statement)),
        (str(RDF.type), f"{OA}Annotation"),
        (str(RDF.subject), subject),
        (str(RDF.predicate), predicate),
        (str(RDF.object), value),
        (f"{BEEP}confidence", Literal(_decimal(found.confidence), str(XSD.decimal))),
        (str(PROV.wasDerivedFrom), _document(found.document_id)),
        (str(PROV.wasGeneratedBy), _beep("activity", found.extraction_id)),
    ]
    if found.chunk is not None:
        statements.append((f"{BEEP}chunk", Literal(str(found.chunk), str(XSD.integer))))
    if found.start is None or found.end is None:
        yield name, iri, [*statements, (f"{OA}hasTarget", _document(found.document_id))]
        return
    yield name, iri, [*statements, (f"{OA}hasTarget", f"{iri}-target")]
    yield (
        name,
        f"{iri}-target",
        [
            (str(RDF.type), f"{OA}SpecificResource"),
            (f"{OA}hasSource", _document(found.document_id)),
            (f"{OA}hasSelector", f"{iri}-position"),
            (f"{OA}hasSelector", f"{iri}-quote"),
        ],
    )
    yield (
        name,
        f"{iri}-position",
        [
            (str(RDF.type), f"{OA}TextPositionSelector"),
            (f"{OA}start", Literal(str(found.start), str(XSD.nonNegativeInteger))),
            (f"{OA}end", Literal(str(found.end), str(XSD.nonNegativeInteger))),
        ],
    )
    yield name, f"{iri}-quote", [(str(RDF.type), f"{OA}TextQuoteSelector"), (f"{OA}exact", Literal(found.quote or ""))]


def _provenance(graph: MergedGraph) -> Iterator[Block]:
    """Yield documents, activities and agents; the documents' own entities are specializations of the canonical ones.

    Not ``owl:sameAs``: with inference every uncertain merge would be final.
    """
    name = f"{BEEP}provenance"
    agents: set[str] = set()
    for document in graph.documents():
        agent = _beep("user", document.organization_id)
        if agent not in agents:
            agents.add(agent)
            yield name, agent, [(str(RDF.type), str(PROV.Agent))]
        described: Statements = [(str(RDF.type), str(PROV.Entity)), (SHA256, Literal(document.content_hash))]
        yield name, _document(document.document_id), described
        activity = _beep("activity", document.extraction_id)
        yield (
            name,
            activity,
            [
                (str(RDF.type), str(PROV.Activity)),
                (str(PROV.wasAssociatedWith), agent),
                (str(PROV.used), _document(document.document_id)),
                (str(PROV.startedAtTime), Literal(document.started_at.isoformat(), str(XSD.dateTime))),
                (str(PROV.endedAtTime), Literal(document.ended_at.isoformat(), str(XSD.dateTime))),
            ],
        )
        query = "SELECT DISTINCT entity_id, id FROM mention JOIN node USING (n) WHERE d = ? ORDER BY mention.rowid"
        for own, canonical in graph.rows(query, (document.number,)):
            statements: Statements = [(str(PROV.wasGeneratedBy), activity)]
            if own != canonical:
                statements.append((str(PROV.specializationOf), entity_iri(canonical)))
            yield name, entity_iri(own), statements


def _documents(graph: MergedGraph) -> Iterator[Block]:
    """Yield each document's graph as it was extracted, under its own name."""
    for batch_id in graph.batch_ids:
        for extraction in graph.store.extractions(batch_id):
            yield from _document_blocks(_beep("extraction", extraction.extraction_id), extraction.result)


def _document_blocks(name: str, result: ExtractionResult) -> Iterator[Block]:
    found: dict[str, Statements] = {}
    for entity in result.graph.entities:
        statements = found.setdefault(entity_iri(entity.id), [])
        statements += [(str(RDF.type), kind) for kind in entity.types]
        statements.append((str(RDFS.label), Literal(entity.name)))
        statements += [(_attribute_iri(key), _value(value)) for key, value in entity.attributes.items()]
    for relation in result.graph.relations:
        value = _literal_of(relation.literal_value or "", relation.literal_type)
        object_ = value if relation.object_id is None else entity_iri(relation.object_id)
        found.setdefault(entity_iri(relation.subject_id), []).append((relation.predicate_iri, object_))
    for subject, statements in found.items():
        yield name, subject, list(dict.fromkeys(statements))


def _object(edge: Edge) -> str | Literal:
    return _literal_of(edge.object_name, edge.datatype) if edge.object_id is None else entity_iri(edge.object_id)


def _literal_of(text: str, datatype: str | None) -> Literal:
    if datatype is not None and datatype.startswith("xsd:"):
        datatype = str(XSD) + datatype.removeprefix("xsd:")
    return Literal(text, None if datatype == str(XSD.string) else datatype)


def _attribute_iri(key: str) -> str:
    return _beep("attr", key)


def _value(value: str | int | float | bool) -> Literal:
    match value:
        case bool():
            return Literal(str(value).lower(), str(XSD.boolean))
        case int():
            return Literal(str(value), str(XSD.integer))
        case float():
            return Literal(repr(value), str(XSD.double))
    return Literal(value)


def _decimal(value: float) -> str:
    shown = f"{value:.6f}".rstrip("0")
    return shown + "0" if shown.endswith(".") else shown


def _beep(kind: str, name: str) -> str:
    return f"{BEEP}{kind}:{quote(name, safe='', errors='surrogatepass')}"


def _document(document_id: str) -> str:
    return _beep("document", document_id)


# --- How terms are spelled --------------------------------------------------------------------------------------------

_LOCAL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
_XML_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*\Z")
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NOT_IRI = re.compile(r'[\x00-\x20<>"{}|\\^`\ud800-\udfff]')
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ESCAPED = re.compile(r'[\\"\x00-\x1f\x7f]')


def _iri(text: str) -> str:
    """Return an IRI with what no IRI may hold (spaces, quotes, brackets) percent-encoded."""
    return _NOT_IRI.sub(lambda found: quote(found.group(), safe="", errors="surrogatepass"), text)


def _quoted(text: str) -> str:
    # Half a surrogate pair, which no file can hold, becomes a question mark.
    text = text.encode("utf-8", "replace").decode("utf-8")
    return '"' + _ESCAPED.sub(lambda found: _ESCAPES.get(found.group(), f"\\u{ord(found.group()):04X}"), text) + '"'


def _literal(value: Literal) -> str:
    return _quoted(value.text) + (f"^^<{_iri(value.datatype)}>" if value.datatype else "")


def _attribute(text: str) -> str:
    return quoteattr(xml_text(text))


class _Names:
    """Prefixes and what is shortened by them: the ontology's own that the graph has a use for, and ours."""

    def __init__(self, graph: MergedGraph, all_graphs: bool) -> None:
        ours = {"rdfs": str(RDFS), "xsd": str(XSD), "entity": f"{BEEP}entity:", "attr": f"{BEEP}attr:"}
        if all_graphs:
            ours |= {"rdf": str(RDF), "prov": str(PROV), "oa": OA, "beep": BEEP}
            ours |= {kind: f"{BEEP}{kind}:" for kind in ("document", "activity", "user", "extraction", "evidence")}
        terms = {_split(iri) for iri in _terms(graph)}
        used = {prefix: iri for prefix, iri in graph.prefixes.items() if iri in terms and iri not in ours.values()}
        self.prefixes: dict[str, str] = dict(used)
        for prefix, iri in ours.items():
            while self.prefixes.get(prefix, iri) != iri:
                prefix += "-"
            self.prefixes[prefix] = iri
        # An empty prefix is none there, and one that is a scheme would be read into every IRI of it.
        schemes = ("http", "https", "urn")
        self.json_ld = {prefix or "ontology": iri for prefix, iri in self.prefixes.items() if prefix not in schemes}
        self._by_space = {iri: prefix for prefix, iri in self.prefixes.items()}
        self._json_by_space = {iri: prefix for prefix, iri in self.json_ld.items()}

    def turtle(self, iri: str) -> str:
        space = _split(iri)
        prefix = self._by_space.get(space)
        if prefix is not None and _LOCAL.fullmatch(iri, len(space)):
            return f"{prefix}:{iri[len(space) :]}"
        return f"<{_iri(iri)}>"

    def literal(self, value: Literal) -> str:
        return _quoted(value.text) + (f"^^{self.turtle(value.datatype)}" if value.datatype else "")

    def compact(self, iri: str) -> str:
        space = _split(iri)
        prefix = self._json_by_space.get(space)
        if prefix is not None and _LOCAL.fullmatch(iri, len(space)):
            return f"{prefix}:{iri[len(space) :]}"
        return _iri(iri)

    def json_value(self, value: str | Literal) -> dict[str, str]:
        if isinstance(value, str):
            return {"@id": self.compact(value)}
        text = value.text.encode("utf-8", "replace").decode("utf-8")
        return {"@value": text} | ({"@type": self.compact(value.datatype)} if value.datatype else {})


def _split(iri: str) -> str:
    """Return the part of an IRI that a prefix may stand for."""
    return iri[: max(iri.rfind(mark) for mark in "#/:") + 1]
