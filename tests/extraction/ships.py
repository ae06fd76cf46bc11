"""A small ontology of ships and lights, and an extraction by it."""

from compat.contracts import ExtractionResult, PipelineConfig
from tasks.extraction import RulesExtractor

SHIPS = """
@prefix : <https://example.org/ships#> .
@prefix owl: <http://www.w3.org/2002/07/owl#> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
@prefix skos: <http://www.w3.org/2004/02/skos/core#> .
@prefix xsd: <http://www.w3.org/2001/XMLSchema#> .

:Person a owl:Class ; rdfs:label "person" .
:Place a owl:Class ; rdfs:label "place" .
:Vessel a owl:Class ; rdfs:label "vessel" ; skos:altLabel "ship" .
:Schooner a owl:Class ; rdfs:label "schooner" ; rdfs:subClassOf :Vessel .
:Comet a rdfs:Class ; skos:prefLabel "comet" .
:captain a owl:ObjectProperty ; rdfs:label "captain" ; rdfs:domain :Vessel ; rdfs:range :Person .
:builtBy a owl:ObjectProperty ; rdfs:label "built by" ; rdfs:domain :Vessel ; rdfs:range :Person .
:completed a owl:DatatypeProperty ; rdfs:label "year completed" ; rdfs:domain :Vessel ; rdfs:range xsd:gYear .
:birthDate a owl:DatatypeProperty ; rdfs:label "date of birth" ; rdfs:domain :Person ; rdfs:range xsd:date .
:birthPlace a owl:ObjectProperty ; rdfs:label "place of birth" ; rdfs:domain :Person ; rdfs:range :Place .
"""

NAMESPACE = "https://example.org/ships#"


def config(document_id: str = "document") -> PipelineConfig:
    return PipelineConfig(document_id=document_id, organization_id="organization", ontology_id="ontology")


def extract(text: str, ontology: str = SHIPS, document_id: str = "document") -> ExtractionResult:
    """What the rules make of a text."""
    return RulesExtractor().run(text, ontology, config(document_id))


def triples(result: ExtractionResult) -> set[tuple[str, str, str]]:
    """Subject name, local name of the predicate, object name or literal."""
    names = {entity.id: entity.name for entity in result.graph.entities}
    return {
        (
            names[relation.subject_id],
            relation.predicate_iri.rpartition("#")[2],
            names[relation.object_id] if relation.object_id else str(relation.literal_value),
        )
        for relation in result.graph.relations
    }
