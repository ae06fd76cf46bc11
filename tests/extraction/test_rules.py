import json
import os
import subprocess
import sys
import threading
from importlib.resources import files

import pytest
from extraction.ships import config, extract, triples

from compat.contracts import ExtractionResult
from compat.errors import OntologyParseError
from tasks.extraction import RulesExtractor, parse_ontology, resolve

SAMPLE = files("deployments") / "sample"
ONTOLOGY = (SAMPLE / "ontology.ttl").read_text(encoding="utf-8")
DOCUMENTS = [json.loads(line) for line in (SAMPLE / "documents.jsonl").read_text(encoding="utf-8").split("\n") if line]
TEXT = "The Harrier is a schooner that was built by Ada Lind in 1884. Its captain is Per Holm."


def sample(document: dict[str, str]) -> ExtractionResult:
    return RulesExtractor().run(document["text"], ONTOLOGY, config(document["documentId"]))


def without_duration(result: ExtractionResult) -> str:
    return result.model_copy(update={"stats": result.stats.model_copy(update={"duration_ms": 0})}).model_dump_json()


def test_stats_tell_the_sizes_of_the_graph() -> None:
    result = extract(TEXT)
    assert result.stats.chunk_count == 1
    assert result.stats.mention_count == sum(len(each.mentions) for each in result.graph.entities) == 3
    assert (result.stats.entity_count, result.stats.relation_count) == (len(result.graph.entities), len(result.graph.relations))
    assert (result.stats.tokens_used, result.stats.clustering_enabled) == (0, False)


def test_the_config_comes_back() -> None:
    assert extract(TEXT).config == config()


def test_ids_depend_on_the_document_and_on_nothing_else() -> None:
    ids = [each.id for each in extract(TEXT).graph.entities]
    assert ids == [each.id for each in extract(f"{TEXT} Nothing more.").graph.entities]
    assert not set(ids) & {each.id for each in extract(TEXT, document_id="other").graph.entities}
    assert all(each.startswith("knowledge_entity__") for each in ids)
    assert all(each.id.startswith("knowledge_relation__") for each in extract(TEXT).graph.relations)


def test_two_hash_seeds_give_the_same_bytes() -> None:
    code = (
        "import json; from extraction.test_rules import DOCUMENTS, sample, without_duration\n"
        "print(*[without_duration(sample(each)) for each in DOCUMENTS], sep='\\n')"
    )
    here = os.path.dirname(__file__)
    root = os.path.dirname(os.path.dirname(here))
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join([root, os.path.dirname(here)])},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    assert outputs[0].count(b"\n") == len(DOCUMENTS)


def test_threads_do_not_disturb_each_other() -> None:
    alone = [without_duration(sample(each)) for each in DOCUMENTS]
    found: dict[int, list[str]] = {}
    extractor = RulesExtractor()

    def work(number: int) -> None:
        found[number] = [
            without_duration(extractor.run(each["text"], ONTOLOGY, config(each["documentId"]))) for each in DOCUMENTS
        ]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found[number] == alone for number in range(20))


@pytest.mark.parametrize(
    "text", ["", "   \n", "😀😀😀", "مرحبا بالعالم. كيف الحال؟", "e\u0301\u0302", "\x00\x01", "\ud800 \udfff.", "."]
)
def test_odd_texts_give_an_empty_graph(text: str) -> None:
    result = extract(text)
    assert (result.graph.entities, result.graph.relations) == ((), ())


def test_an_ontology_without_classes_gives_no_entities() -> None:
    assert extract(TEXT, ontology="").graph.entities == ()


def test_an_ontology_that_does_not_parse_is_an_error() -> None:
    with pytest.raises(OntologyParseError):
        extract(TEXT, ontology="not turtle")


@pytest.mark.parametrize("unit", ["The Harrier is a schooner built by Ada Lind. ", "Ada, ", "word ", "😀"])
def test_a_long_monotonous_text_passes(unit: str) -> None:
    text = unit * (200_000 // len(unit))
    assert extract(text).stats.chunk_count >= len(text) // 2_000


@pytest.mark.slow
def test_a_megabyte_passes() -> None:
    text = "".join(f"{each['text']}\n" for each in DOCUMENTS)
    result = RulesExtractor().run((text * (1_000_000 // len(text) + 1))[:1_000_000], ONTOLOGY, config())
    assert result.stats.chunk_count > 400


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document["documentId"])
def test_every_sample_document_says_something(document: dict[str, str]) -> None:
    result = sample(document)
    assert result.graph.relations
    assert len(result.graph.entities) >= 2
    for entity in result.graph.entities:
        assert all(each.text == document["text"][each.start_char : each.end_char] for each in entity.mentions)


def test_the_sample_is_a_batch_worth_looking_at() -> None:
    results = [(each["documentId"], sample(each)) for each in DOCUMENTS]
    entities = [(document_id, entity) for document_id, result in results for entity in result.graph.entities]
    relations = [relation for _, result in results for relation in result.graph.relations]
    assert len(DOCUMENTS) == 25
    assert len(entities) >= 122
    assert len(relations) >= 114
    assert resolve(entities).merge_count >= 81
    used = {relation.predicate_iri for relation in relations}
    assert used == {each.iri for each in parse_ontology(ONTOLOGY).properties}


def test_the_sample_says_what_it_means() -> None:
    said = set().union(*(triples(sample(each)) for each in DOCUMENTS))
    assert said >= {
        ("Gannet Light", "builtBy", "Ada Lindqvist"),
        ("Gannet Light", "height", "31"),
        ("Sill Light", "keeper", "Birgit Aas"),
        ("Harrier", "homePort", "Kelder Haven"),
        ("Comet Ilse", "discoveredBy", "Noor Haddad"),
        ("Zoë Çelik", "birthDate", "1990-06-01"),
        ("Tern Society", "locatedIn", "Port Aldery"),
    }


def test_a_property_of_texts_or_things_points_to_the_thing() -> None:
    ontology = """
    @prefix : <https://example.org/press#> . @prefix owl: <http://www.w3.org/2002/07/owl#> .
    @prefix rdf: <http://www.w3.org/1999/02/22-rdf-syntax-ns#> . @prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
    @prefix schema: <https://schema.org/> .
    :Publisher a rdfs:Class ; rdfs:label "publisher" . :Place a rdfs:Class ; rdfs:label "place" .
    :location a rdf:Property ; rdfs:label "location" .
    :location schema:domainIncludes :Publisher ; schema:rangeIncludes :Place, schema:Text .
    """
    graph = RulesExtractor().run("Aurora Press is a publisher located in Oslo.", ontology, config("d")).graph
    names = {each.id: each.name for each in graph.entities}
    [relation] = graph.relations
    assert (names[relation.subject_id], names[relation.object_id or ""]) == ("Aurora Press", "Oslo")
