"""Which statements a graph's RDF is made of: the default graph, and the named ones of documents, provenance and evidence."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

from rdflib import PROV, RDF, RDFS, XSD

from compat.contracts import ExtractionResult
from flows.graph.merged import MergedGraph
from flows.graph.parts import Edge, Evidence

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


def entity_iri(id: str) -> str:
    """Return the IRI of an entity."""
    return _beep("entity", id)


def blocks_of(graph: MergedGraph, evidence: bool, named: bool) -> Iterator[Block]:
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
    for iri in terms_of(graph):
        yield None, iri, [(str(RDFS.label), Literal(graph.label(iri)))]


def terms_of(graph: MergedGraph) -> Iterator[str]:
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
