import json
import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest
import rdflib
from rdflib import PROV, RDF, RDFS

from compat.contracts import Entity, ExtractionResult, KnowledgeGraph, Relation
from tasks.extraction.rdf import Extraction, Format, serialize, to_dataset

SHIP = "https://example.org/ships#"
YEAR = str(rdflib.XSD.gYear)
STARTED, ENDED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC)


def extraction(number: int = 1) -> Extraction:
    graph = KnowledgeGraph(
        entities=(
            Entity(
                id="e 1",
                mention="Harrier",
                canonical_name="The Harrier",
                types=(f"{SHIP}Vessel", f"{SHIP}Old Ship"),
                attributes={"hull colour/%": "red", "masts": 2, "afloat": True},
            ),
            Entity(id="e2", mention="Ada", types=(f"{SHIP}Person",)),
        ),
        relations=(
            Relation(id="r1", subject_id="e 1", predicate_iri=f"{SHIP}captain", object_id="e2"),
            Relation(
                id="r2",
                subject_id="e 1",
                predicate_iri=f"{SHIP}completed",
                literal_value="1884",
                literal_type=str(rdflib.XSD.gYear),
            ),
            *(Relation(id=ns, subject_id="e2", predicate_iri=f"https://{ns}.example/a#b", object_id="e 1") for ns in "defghi"),
            Relation(id="r3", subject_id="e 1", predicate_iri="https://example.org/other#motto", literal_value="On"),
        ),
    )
    return Extraction(f"x{number}", "doc é/1", "org:1", STARTED, ENDED, ExtractionResult(graph=graph))


def graph_of(dataset: rdflib.Dataset, name: str) -> rdflib.Graph:
    return dataset.graph(rdflib.URIRef(name))


def beep(name: str) -> rdflib.URIRef:
    return rdflib.URIRef(f"urn:beep:{name}")


def test_each_extraction_has_a_named_graph_and_all_share_the_provenance() -> None:
    names = {str(graph.identifier) for graph in to_dataset([extraction(1), extraction(2)]).graphs() if len(graph)}
    assert names == {"urn:beep:extraction:x1", "urn:beep:extraction:x2", "urn:beep:provenance"}


def test_an_entity_has_types_label_and_attributes() -> None:
    graph = graph_of(to_dataset([extraction()]), "urn:beep:extraction:x1")
    ship = beep("entity:e%201")
    assert set(graph.objects(ship, RDF.type)) == {rdflib.URIRef(f"{SHIP}Vessel"), rdflib.URIRef(f"{SHIP}Old%20Ship")}
    assert graph.value(ship, RDFS.label) == rdflib.Literal("The Harrier")
    assert graph.value(ship, beep("attr:hull%20colour%2F%25")) == rdflib.Literal("red")
    assert graph.value(ship, beep("attr:masts")) == rdflib.Literal(2)
    assert graph.value(ship, beep("attr:afloat")) == rdflib.Literal(True)


def test_a_label_is_the_mention_where_there_is_no_canonical_name() -> None:
    graph = graph_of(to_dataset([extraction()]), "urn:beep:extraction:x1")
    assert graph.value(beep("entity:e2"), RDFS.label) == rdflib.Literal("Ada")


def test_relations_lead_to_entities_or_to_typed_literals() -> None:
    graph = graph_of(to_dataset([extraction()]), "urn:beep:extraction:x1")
    ship = beep("entity:e%201")
    assert graph.value(ship, rdflib.URIRef(f"{SHIP}captain")) == beep("entity:e2")
    year = graph.value(ship, rdflib.URIRef(f"{SHIP}completed"))
    assert isinstance(year, rdflib.Literal)
    assert (str(year), year.datatype) == ("1884", rdflib.XSD.gYear)
    assert graph.value(ship, rdflib.URIRef("https://example.org/other#motto")) == rdflib.Literal("On")


def test_provenance_is_prov_o() -> None:
    graph = graph_of(to_dataset([extraction()]), "urn:beep:provenance")
    activity, agent, document = beep("activity:x1"), beep("user:org%3A1"), beep("document:doc%20%C3%A9%2F1")
    assert set(graph) == {
        (activity, RDF.type, PROV.Activity),
        (agent, RDF.type, PROV.Agent),
        (document, RDF.type, PROV.Entity),
        (activity, PROV.wasAssociatedWith, agent),
        (activity, PROV.used, document),
        (activity, PROV.startedAtTime, rdflib.Literal(STARTED)),
        (activity, PROV.endedAtTime, rdflib.Literal(ENDED)),
        (beep("entity:e%201"), PROV.wasGeneratedBy, activity),
        (beep("entity:e2"), PROV.wasGeneratedBy, activity),
    }


@pytest.mark.parametrize("format", ["nquads", "json-ld"])
def test_what_is_written_can_be_read_again(format: Format) -> None:
    dataset = to_dataset([extraction(1), extraction(2)])
    again = rdflib.Dataset()
    again.parse(data=serialize(dataset, format), format=format)
    assert {tuple(map(str, quad)) for quad in again.quads()} == {tuple(map(str, quad)) for quad in dataset.quads()}


def test_turtle_holds_the_triples_of_all_graphs() -> None:
    dataset = to_dataset([extraction()])
    again = rdflib.Graph().parse(data=serialize(dataset, "turtle"), format="turtle")
    assert len(again) == len(list(dataset.quads()))


def test_two_hash_seeds_write_the_same_bytes() -> None:
    code = (
        "from extraction.test_rdf import extraction; from tasks.extraction.rdf import serialize, to_dataset\n"
        "dataset = to_dataset([extraction(1), extraction(2)])\n"
        "for format in ('turtle', 'nquads', 'json-ld'): print(serialize(dataset, format))"
    )
    here = os.path.dirname(__file__)
    path = os.pathsep.join([os.path.dirname(os.path.dirname(here)), os.path.dirname(here)])
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0]
    assert outputs[0] == outputs[1]


def test_a_literal_that_does_not_fit_its_type_is_kept_as_it_stands(caplog: pytest.LogCaptureFixture) -> None:
    graph = KnowledgeGraph(
        entities=(Entity(id="e", mention="\ud800"),),
        relations=(
            Relation(id="r", subject_id="e", predicate_iri="urn:p", literal_value="soon", literal_type="xsd:date"),
            Relation(id="s", subject_id="e", predicate_iri="urn:p", literal_value="007", literal_type=str(rdflib.XSD.integer)),
        ),
    )
    dataset = to_dataset([Extraction("x", "d", "o", STARTED, ENDED, ExtractionResult(graph=graph))])
    assert f'"soon"^^<{rdflib.XSD.date}>' in serialize(dataset, "nquads")
    assert f'"007"^^<{rdflib.XSD.integer}>' in serialize(dataset, "nquads")
    assert json.loads(serialize(dataset, "json-ld"))
    assert not caplog.records
