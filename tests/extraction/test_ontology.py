import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from extraction.ships import NAMESPACE, SHIPS

from compat.errors import OntologyParseError
from tasks.extraction import ontology as ontology_module
from tasks.extraction import parse_ontology

DATA = Path(__file__).parents[2].parent / "shared" / "data"
PREFIXES = SHIPS[: SHIPS.index(":Person")]


def ids(iris: tuple[str, ...]) -> list[str]:
    return [iri.removeprefix(NAMESPACE) for iri in iris]


def test_classes_come_in_the_order_of_their_iris() -> None:
    assert [each.label for each in parse_ontology(SHIPS).classes] == ["comet", "person", "place", "schooner", "vessel"]


def test_properties_have_kind_domain_and_range() -> None:
    found = {each.label: each for each in parse_ontology(SHIPS).properties}
    assert (found["captain"].kind, ids(found["captain"].domains), ids(found["captain"].ranges)) == (
        "object",
        ["Vessel"],
        ["Person"],
    )
    assert (found["year completed"].kind, found["year completed"].ranges) == (
        "datatype",
        ("http://www.w3.org/2001/XMLSchema#gYear",),
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Nameless", "nameless"),
        ("dateOfBirth", "date of birth"),
        ("date_of_birth", "date of birth"),
        ("Apollo11Mission", "apollo 11 mission"),
        ("HTTPServer", "HTTP server"),
        ("%C3%89tat", "état"),
    ],
)
def test_a_class_without_a_label_is_named_by_the_words_of_its_iri(name: str, words: str) -> None:
    found = parse_ontology(f"{PREFIXES} <{NAMESPACE}{name}> a owl:Class .")
    assert [each.label for each in found.classes] == [words]
    assert found.summary.named_by_iri == 1


def test_rdfs_label_comes_before_pref_label() -> None:
    found = parse_ontology(f'{PREFIXES} :A a owl:Class ; skos:prefLabel "second" ; rdfs:label "first" .')
    assert found.classes[0].label == "first"


def test_an_english_label_comes_before_others() -> None:
    found = parse_ontology(f'{PREFIXES} :A a owl:Class ; rdfs:label "Schiff"@de , "ship"@en , "bateau"@fr .')
    assert found.classes[0].label == "ship"


def test_comment_and_alternative_labels_are_kept() -> None:
    found = parse_ontology(f'{PREFIXES} :A a owl:Class ; rdfs:label "a" ; skos:altLabel "c", "b" ; rdfs:comment "Why." .')
    assert (found.classes[0].alt_labels, found.classes[0].comment) == (("b", "c"), "Why.")


def test_ancestors_reach_all_the_way_up() -> None:
    found = parse_ontology(
        f'{PREFIXES} :A a owl:Class ; rdfs:label "a" ; rdfs:subClassOf :B . '
        ':B rdfs:subClassOf :C . :C a owl:Class ; rdfs:label "c" .'
    )
    assert found.is_a(f"{NAMESPACE}A", f"{NAMESPACE}C")
    assert not found.is_a(f"{NAMESPACE}C", f"{NAMESPACE}A")


def test_a_circle_of_subclasses_ends() -> None:
    found = parse_ontology(f'{PREFIXES} :A a owl:Class ; rdfs:label "a" ; rdfs:subClassOf :B . :B rdfs:subClassOf :A .')
    assert found.is_a(f"{NAMESPACE}A", f"{NAMESPACE}B")


def test_a_union_stands_for_its_members() -> None:
    found = parse_ontology(
        f'{SHIPS} :p a owl:ObjectProperty ; rdfs:label "p" ; rdfs:domain [ a owl:Class ; owl:unionOf ( :Person :Vessel ) ] .'
    )
    assert ids(next(each for each in found.properties if each.label == "p").domains) == ["Person", "Vessel"]


def test_a_property_inherits_domain_and_range() -> None:
    found = parse_ontology(f'{SHIPS} :mate a owl:ObjectProperty ; rdfs:label "mate" ; rdfs:subPropertyOf :captain .')
    mate = next(each for each in found.properties if each.label == "mate")
    assert (ids(mate.domains), ids(mate.ranges)) == (["Vessel"], ["Person"])
    assert ids(tuple(found.property_ancestors[mate.iri])) == ["captain"]


def test_a_domain_that_is_declared_nowhere_bounds_nothing() -> None:
    found = parse_ontology(f'{PREFIXES} :p a owl:ObjectProperty ; rdfs:label "p" ; rdfs:domain :Unknown .')
    assert found.properties[0].domains == ()


def test_individuals_keep_their_labels_and_classes() -> None:
    found = parse_ontology(f'{SHIPS} :petrel a :Schooner ; rdfs:label "Petrel" .')
    assert [(each.labels, ids(each.types)) for each in found.individuals] == [(("Petrel",), ["Schooner"])]


def test_an_ontology_without_classes_is_legal() -> None:
    assert parse_ontology("").classes == ()


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        ("@prefix a: <http://x/> .\n\na:b a:c .\n", 3, "objectList"),
        ("x:y a x:z .", 1, "not bound"),
        ('@prefix a: <http://x/> .\na:b a:c "open .\n', 2, ""),
        ('<http://a> <http://b>\n  "\\u12" .', 2, "Quote expected"),
        ("\x00", 1, "expected directive"),
    ],
)
def test_a_text_that_is_no_turtle_is_refused_with_line_and_reason(content: str, line: int, reason: str) -> None:
    with pytest.raises(OntologyParseError, match=f"line {line}: .*{reason}") as caught:
        parse_ontology(content)
    assert caught.value.format == "turtle"
    assert caught.value.cause


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(OntologyParseError, match="bytes, not text"):
        parse_ontology(b"@prefix")  # type: ignore[arg-type]


def test_twenty_threads_parse_one_text_once() -> None:
    content = f"{SHIPS}# {time.time_ns()}\n"
    misses = ontology_module._parsed.cache_info().misses
    start = threading.Barrier(20)
    found = []

    def ask() -> None:
        start.wait()
        found.append(parse_ontology(content))

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20
    assert all(each is found[0] for each in found)
    assert ontology_module._parsed.cache_info().misses == misses + 1


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real documents at {DATA}")
@pytest.mark.parametrize("file", sorted(DATA.rglob("*.ttl")), ids=lambda file: file.parent.name)
def test_real_ontologies_parse(file: Path) -> None:
    found = parse_ontology(file.read_text(encoding="utf-8"))
    assert found.classes
    assert found.properties


ODD = '<http://a\u22121> a <http://b c> ; <http://p> "2020-99-99"^^<http://www.w3.org/2001/XMLSchema#date> .'


def test_odd_iris_and_literals_say_nothing_on_stderr() -> None:
    code = f"from tasks.extraction import parse_ontology; parse_ontology({ODD!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "OntologyParseError" not in done.stderr
    assert done.stderr == ""


def test_the_logging_of_others_stays_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    import rdflib

    parse_ontology(f"{ODD} # again")
    assert not caplog.records
    rdflib.Literal("2020-99-99", datatype=rdflib.XSD.date)
    assert caplog.records
