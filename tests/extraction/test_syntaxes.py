"""Ontologies as they are: every RDF syntax is read, every other one is named with what to do, nothing is fetched."""

import http.server
import threading
import time
from collections.abc import Iterator

import pytest
import rdflib

from compat.errors import OntologyParseError
from tasks.extraction import parse_ontology

TURTLE = """
@prefix : <https://example.org/#> . @prefix owl: <http://www.w3.org/2002/07/owl#> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> . @prefix rdf: <http://www.w3.org/1999/02/22-rdf-syntax-ns#> .
@prefix schema: <https://schema.org/> . @prefix xsd: <http://www.w3.org/2001/XMLSchema#> .
<https://example.org/> a owl:Ontology ; owl:imports <https://elsewhere.example/a>, <https://elsewhere.example/b> .
:Ship a owl:Class ; rdfs:label "ship"@en, "Schiff"@de, "bateau"@fr .
:PortOfCall a rdfs:Class ; rdfs:subClassOf :Place .
:Place a rdfs:Class .
:calledAt a rdf:Property ; schema:domainIncludes :Ship ; schema:rangeIncludes :PortOfCall .
:launched a rdf:Property ; schema:domainIncludes :Ship ; schema:rangeIncludes schema:Date .
:note a rdf:Property .
:tonnage a owl:DatatypeProperty ; rdfs:label "tonnage" ; rdfs:range xsd:integer .
"""


def in_syntax(syntax: str) -> str:
    graph = rdflib.Graph()
    graph.parse(data=TURTLE, format="turtle")
    if syntax in ("trig", "nquads"):
        dataset = rdflib.Dataset()
        for triple in graph:
            dataset.graph(rdflib.URIRef("https://example.org/graph")).add(triple)
        return dataset.serialize(format=syntax)
    return graph.serialize(format=syntax)


@pytest.mark.parametrize("syntax", ["turtle", "nt", "trig", "nquads", "xml", "pretty-xml", "json-ld"])
def test_an_ontology_means_the_same_in_every_syntax(syntax: str) -> None:
    expected, found = parse_ontology(TURTLE), parse_ontology("\ufeff\n" + in_syntax(syntax))
    assert (found.classes, found.properties, found.summary) == (expected.classes, expected.properties, expected.summary)


def test_the_summary_says_what_was_read_and_what_was_left_out() -> None:
    said = "3 classes, 4 properties, 0 individuals; 5 without a label named by their IRI; owl:imports of 2 not followed"
    assert str(parse_ontology(TURTLE).summary) == said


def test_a_union_is_read_and_not_counted_as_left_out() -> None:
    prefixes = (
        "@prefix owl: <http://www.w3.org/2002/07/owl#> . "
        "@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> . @prefix : <urn:x:> ."
    )
    union = ":A a owl:Class . :B a owl:Class . :p a owl:ObjectProperty ; rdfs:domain [ a owl:Class ; owl:unionOf ( :A :B ) ] ."
    other = ":C a owl:Class ; owl:equivalentClass [ a owl:Class ; owl:complementOf :A ] ."
    assert parse_ontology(f"{prefixes} {union}").summary.unnamed_classes == 0
    assert parse_ontology(f"{prefixes} {union} {other}").summary.unnamed_classes == 1


def test_labels_of_every_language_are_names() -> None:
    ship = next(each for each in parse_ontology(TURTLE).classes if each.label == "ship")
    assert ship.alt_labels == ("Schiff", "bateau")


def test_properties_of_rdf_point_to_what_their_range_says() -> None:
    found = {each.label: each for each in parse_ontology(TURTLE).properties}
    assert {label: each.kind for label, each in found.items()} == {
        "called at": "object",
        "launched": "datatype",
        "note": "any",
        "tonnage": "datatype",
    }
    assert found["called at"].domains == ("https://example.org/#Ship",)
    assert found["launched"].ranges == ("http://www.w3.org/2001/XMLSchema#date",)
    ontology = parse_ontology(TURTLE)
    assert ontology.allows(found["note"], ["https://example.org/#Ship"], ["https://example.org/#Place"])
    assert ontology.allows_literal(found["note"], ["https://example.org/#Ship"], "http://www.w3.org/2001/XMLSchema#string")


def test_the_words_of_rdf_and_owl_are_no_classes_of_a_domain() -> None:
    content = "@prefix owl: <http://www.w3.org/2002/07/owl#> . owl:Thing a owl:Class . <https://example.org/A> a owl:Class ."
    assert [each.iri for each in parse_ontology(content).classes] == ["https://example.org/A"]


@pytest.mark.parametrize(
    ("content", "syntax", "advice"),
    [
        (
            "# comment\nPrefix(:=<https://example.org/>)\nOntology(<https://example.org/>)",
            "OWL functional syntax",
            "robot convert",
        ),
        ("Prefix: : <https://example.org/>\nOntology: <https://example.org/>", "OWL Manchester syntax", "robot convert"),
        ("format-version: 1.2\nontology: go", "OBO", "robot convert"),
        ('<?xml version="1.0"?>\n<Ontology xmlns="http://www.w3.org/2002/07/owl#"/>', "OWL/XML", "robot convert"),
        ("<!DOCTYPE html><html><body>404</body></html>", "an HTML page", "curl"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer", "git lfs pull"),
    ],
)
def test_another_syntax_is_named_with_what_to_do(content: str, syntax: str, advice: str) -> None:
    with pytest.raises(OntologyParseError) as caught:
        parse_ontology(content)
    assert caught.value.format == syntax
    assert advice in caught.value.message


def test_xml_that_is_no_ontology_says_what_its_root_is() -> None:
    with pytest.raises(OntologyParseError, match="whose root is 'svg', not rdf:RDF"):
        parse_ontology('<svg xmlns="http://www.w3.org/2000/svg"/>')


RDF_XML = """<?xml version="1.0" encoding="ISO-8859-1"?>
<!DOCTYPE rdf:RDF [ {entities} ]>
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:rdfs="http://www.w3.org/2000/01/rdf-schema#">
<rdfs:Class rdf:about="https://example.org/A"><rdfs:label>{text}</rdfs:label></rdfs:Class></rdf:RDF>"""


def test_an_entity_that_abbreviates_is_read_and_the_declared_encoding_is_not_applied_twice() -> None:
    content = RDF_XML.format(entities='<!ENTITY owl "http://www.w3.org/2002/07/owl#">', text="été &owl;")
    assert [each.label for each in parse_ontology(content).classes] == ["été http://www.w3.org/2002/07/owl#"]


BOMB = '<!ENTITY a "aaaaaaaaaa">' + "".join(
    f'<!ENTITY {name} "{f"&{of};" * 10}">' for of, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "entities",
    [BOMB, f'<!ENTITY a "{"a" * 300}">', '<!ENTITY a SYSTEM "file:///etc/hostname">', '<!ENTITY % a "x">'],
    ids=["nested", "long", "external", "parameter"],
)
def test_an_entity_that_grows_or_comes_from_outside_is_refused_at_once(entities: str) -> None:
    began = time.process_time()
    with pytest.raises(OntologyParseError, match="isn't valid RDF/XML"):
        parse_ontology(RDF_XML.format(entities=entities, text="&a;"))
    # The nested one took rdflib 8 s.
    assert time.process_time() - began < 2


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    """A server of contexts: its address, and which paths it was asked for."""
    paths: list[str] = []

    class Contexts(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"@context": {}}')

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Contexts) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/context", paths
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "document",
    [
        '{{"@context": "{url}", "@id": "urn:a"}}',
        '{{"@context": [{{}}, "{url}"], "@id": "urn:a"}}',
        '{{"@context": {{"@import": "{url}"}}, "@id": "urn:a"}}',
        '{{"@context": {{"a": {{"@id": "urn:a", "@context": "{url}"}}}}, "a": "b"}}',
        '[{{"@id": "urn:a", "urn:b": {{"@context": "{url}", "@id": "urn:c"}}}}]',
    ],
    ids=["named", "listed", "imported", "scoped", "inside"],
)
def test_no_context_is_fetched(document: str, asked: tuple[str, list[str]]) -> None:
    url, paths = asked
    with pytest.raises(OntologyParseError, match="nothing is fetched"):
        parse_ontology(document.format(url=url))
    assert paths == []


@pytest.mark.parametrize("content", ["[" * 100_000, "<https://example.org/a> <https://example.org/b> " + "[" * 5_000])
def test_a_text_that_nests_without_end_is_bad_input(content: str) -> None:
    with pytest.raises(OntologyParseError):
        parse_ontology(content)


def test_a_text_that_does_not_parse_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.extraction import ontology

    parsed = []

    def read(content: str) -> rdflib.Graph:
        parsed.append(content)
        raise OntologyParseError("no ontology", "turtle", "")

    monkeypatch.setattr(ontology, "read_graph", read)
    for _ in range(3):
        with pytest.raises(OntologyParseError, match="no ontology"):
            parse_ontology("this text is parsed in one test alone")
    assert len(parsed) == 1
