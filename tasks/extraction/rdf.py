"""Extractions as RDF: a named graph each, and one for where they come from (CONTRACT 9.7)."""

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote

import rdflib
from rdflib import PROV, RDF, RDFS, XSD
from rdflib.namespace import Namespace
from rdflib.term import Node

from compat.contracts import Entity, ExtractionResult
from tasks.extraction.ontology import quiet_terms

BEEP = Namespace("urn:beep:")
PROVENANCE = BEEP["provenance"]
Format = Literal["turtle", "nquads", "json-ld"]


@dataclass(frozen=True)
class Extraction:
    """One document's result and what is known of its making. ``agent_id`` is the user or organization it was made for."""

    extraction_id: str
    document_id: str
    agent_id: str
    started_at: datetime
    ended_at: datetime
    result: ExtractionResult


def to_dataset(extractions: Iterable[Extraction]) -> rdflib.Dataset:
    """All extractions in one dataset.

    ``urn:beep:extraction:<extractionId>`` has types, labels, attributes and relations of one document;
    ``urn:beep:provenance`` has the PROV-O of all. What an IRI can't bear is percent-encoded.
    """
    dataset = rdflib.Dataset()
    provenance = dataset.graph(PROVENANCE)
    with quiet_terms():
        for extraction in extractions:
            _add_graph(dataset.graph(_beep("extraction", extraction.extraction_id)), extraction)
            _add_provenance(provenance, extraction)
    return dataset


def serialize(dataset: rdflib.Dataset, format: Format) -> str:
    """The dataset as text, the same for the same triples.

    ``turtle`` can't name graphs and holds the triples of all of them; the others keep the graphs apart.
    """
    if format == "nquads":
        lines = dataset.serialize(format="nquads").splitlines()
        return "".join(f"{line}\n" for line in sorted(lines) if line)
    if format == "json-ld":
        return (
            json.dumps(_ordered(json.loads(dataset.serialize(format="json-ld"))), ensure_ascii=False, indent=2, sort_keys=True)
            + "\n"
        )
    union = rdflib.Graph()
    for kind in ("activity", "attr", "document", "entity", "user"):
        union.bind(kind, f"{BEEP}{kind}:")
    for subject, predicate, object_, _ in dataset.quads():
        union.add((subject, predicate, object_))
    # Each namespace gets its ns1: here, before the serializer gives them out in the order of a set.
    for iri in sorted({str(node) for triple in union for node in triple[1:] if isinstance(node, rdflib.URIRef)}):
        with suppress(ValueError, KeyError):  # an IRI without a local name gets none
            union.namespace_manager.compute_qname(iri, generate=True)
    return str(union.serialize(format="turtle"))


def _add_graph(graph: rdflib.Graph, extraction: Extraction) -> None:
    for entity in extraction.result.graph.entities:
        _add_entity(graph, entity)
    for relation in extraction.result.graph.relations:
        object_: Node
        if relation.object_id is not None:
            object_ = _beep("entity", relation.object_id)
        else:
            object_ = _literal(relation.literal_value or "", relation.literal_type)
        graph.add((_beep("entity", relation.subject_id), _iri(relation.predicate_iri), object_))


def _add_entity(graph: rdflib.Graph, entity: Entity) -> None:
    node = _beep("entity", entity.id)
    for type_iri in entity.types:
        graph.add((node, RDF.type, _iri(type_iri)))
    graph.add((node, RDFS.label, _literal(entity.name)))
    for key, value in entity.attributes.items():
        literal = _literal(value) if isinstance(value, str) else rdflib.Literal(value)
        graph.add((node, _beep("attr", key), literal))


def _add_provenance(graph: rdflib.Graph, extraction: Extraction) -> None:
    activity = _beep("activity", extraction.extraction_id)
    agent = _beep("user", extraction.agent_id)
    document = _beep("document", extraction.document_id)
    graph.add((activity, RDF.type, PROV.Activity))
    graph.add((agent, RDF.type, PROV.Agent))
    graph.add((document, RDF.type, PROV.Entity))
    graph.add((activity, PROV.wasAssociatedWith, agent))
    graph.add((activity, PROV.used, document))
    graph.add((activity, PROV.startedAtTime, rdflib.Literal(extraction.started_at)))
    graph.add((activity, PROV.endedAtTime, rdflib.Literal(extraction.ended_at)))
    for entity in extraction.result.graph.entities:
        graph.add((_beep("entity", entity.id), PROV.wasGeneratedBy, activity))


def _beep(kind: str, name: str) -> rdflib.URIRef:
    return BEEP[f"{kind}:{quote(name, safe='', errors='surrogatepass')}"]


def _iri(text: str) -> rdflib.URIRef:
    """An IRI of the ontology, with what no IRI may hold (spaces, quotes, brackets) percent-encoded."""
    return rdflib.URIRef("".join(quote(each) if each <= " " or each in '<>"{}|\\^`' else each for each in text))


def _literal(text: str, datatype: str | None = None) -> rdflib.Literal:
    """A literal with its text as it stands. Half a surrogate pair, which no file can hold, becomes a question mark."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    if datatype is None or datatype in (str(XSD.string), "xsd:string"):
        return rdflib.Literal(text)
    iri = str(XSD) + datatype.removeprefix("xsd:") if datatype.startswith("xsd:") else datatype
    return rdflib.Literal(text, datatype=_iri(iri), normalize=False)


def _ordered(value: Any) -> Any:
    """JSON-LD with its arrays, which mean sets here, in a fixed order."""
    if isinstance(value, dict):
        return {key: _ordered(each) for key, each in value.items()}
    if isinstance(value, list):
        return sorted((_ordered(each) for each in value), key=lambda each: json.dumps(each, sort_keys=True))
    return value
