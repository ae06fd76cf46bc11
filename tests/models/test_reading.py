"""From a model's words to the graph: quotes become offsets, labels become IRIs, of a large ontology a part is told."""

import pytest
from extraction.ships import SHIPS
from fakemodel import FakeModel, Say, Seen, answer_to, text_of
from models.conftest import documents

import flows
from compat.contracts import Success
from tasks.extraction import parse_ontology
from tasks.extraction.llm.quotes import Quotable
from tasks.extraction.llm.vocabulary import MOST_TERMS, vocabulary


@pytest.mark.parametrize(
    ("text", "quote", "found"),
    [
        ("The Harrier sails.", "Harrier", "Harrier"),
        ("The  Harrier\nsails.", "The Harrier sails", "The  Harrier\nsails"),
        ("She said “no” to him.", 'said "no" to', "said “no” to"),
        ("Caf\u0065\u0301 Tern is shut.", "Caf\u00e9 Tern", "Caf\u0065\u0301 Tern"),
        ("the ﬁrst light", "the first light", "the ﬁrst light"),
        ("1914–1918 she lay", "1914-1918", "1914–1918"),
        ("The Harrier sails.", "Petrel", None),
        ("The Harrier sails.", "  ", None),
    ],
)
def test_a_quote_is_found_where_it_stands(text: str, quote: str, found: str | None) -> None:
    place = Quotable(text).find(quote)
    assert (place and text[place.start : place.end]) == found


def test_every_place_of_a_name_counts_and_none_inside_of_a_word() -> None:
    text = "Ada and Adam met Ada."
    assert [(place.start, place.end) for place in Quotable(text).find_all("Ada")] == [(0, 3), (17, 20)]


def test_of_a_large_ontology_the_parts_are_told_that_the_text_touches_the_same_ones_each_time() -> None:
    header = "\n".join(line for line in SHIPS.splitlines() if line.startswith("@prefix"))
    classes = "".join(f':C{n} a owl:Class ; rdfs:label "thing {n}" .\n' for n in range(150))
    properties = "".join(f':p{n} a owl:ObjectProperty ; rdfs:label "does {n}" .\n' for n in range(150))
    tends = ':tends a owl:ObjectProperty ; rdfs:label "tends" ; rdfs:range :C149 .\n'
    lighthouse = ':Light a owl:Class ; rdfs:label "lighthouse" .\n' + tends
    content = header + classes + properties + lighthouse
    ontology = parse_ontology(content)
    told = vocabulary(ontology, "He tended the lighthouses.")
    assert told.is_excerpt
    assert (len(told.classes), len(told.properties)) == (MOST_TERMS, MOST_TERMS)
    assert {"lighthouse", "thing 149"} <= set(told.classes)
    assert "tends" in told.properties
    assert vocabulary(parse_ontology(content + "\n"), "He tended the lighthouses.").described == told.described
    small = parse_ontology(SHIPS)
    assert vocabulary(small, "one text").described == vocabulary(small, "another").described


def test_two_classes_of_one_label_are_told_apart() -> None:
    twins = SHIPS + ':Boat a owl:Class ; rdfs:label "vessel" .'
    told = vocabulary(parse_ontology(twins), "")
    assert {"vessel [Boat]", "vessel [Vessel]"} <= set(told.classes)
    boat, none = told.class_of("vessel [Boat]"), told.class_of("vessel")
    assert boat is not None
    assert boat.iri.endswith("#Boat")
    assert none is None


def test_three_calls_a_chunk_give_what_one_gives(model: FakeModel, environment: pytest.MonkeyPatch, request_of: object) -> None:
    def script(seen: Seen, times: int) -> Say | None:
        lists = set(seen.body["response_format"]["json_schema"]["schema"]["properties"])
        whole = answer_to(seen.text)
        return Say({name: whole["entities"] if name == "mentions" else whole[name] for name in lists})

    model.script = script
    [one] = flows.run_batch(request_of(documents(text_of(1, 2))), "legacy").document_results  # type: ignore[operator]
    environment.setenv("KNOWLEDGE_LLM_CALLS", "three")
    [three] = flows.run_batch(request_of(documents(text_of(1, 2))), "legacy").document_results  # type: ignore[operator]
    assert isinstance(one.result, Success)
    assert isinstance(three.result, Success)
    assert one.result.extraction.graph == three.result.extraction.graph
    assert (len(model.seen), one.result.extraction.stats.tokens_used, three.result.extraction.stats.tokens_used) == (4, 120, 360)
    # The ontology comes first and is the same for every text; labels are an enum.
    systems = {seen.system for seen in model.seen}
    assert len(systems) == 4
    assert "- captain: vessel → person" in model.seen[0].system
    assert "\nEntities:\n- Harrier 1 (vessel)\n" in model.seen[3].text
