import pytest
from extraction.ships import SHIPS

from compat.contracts import Entity, Evidence, KnowledgeGraph, Relation
from tasks.extraction import parse_ontology
from tasks.extraction.evaluation import Fact, Scored, comparable, expected_of, facts_of, measure, measure_relations

ONTOLOGY = parse_ontology(SHIPS)


def fact(subject: str, relation: str, object_: str) -> Fact:
    return Fact((subject, relation, object_), conforms=True, invented_subject=False, invented_object=False)


@pytest.mark.parametrize("value", ["1984", "01 January 1984", "January 1, 1984", "1984-01-01"])
def test_dates_in_any_form_are_one_day_and_a_year_is_its_first(value: str) -> None:
    assert comparable(value) == "1984-01-01"


def test_case_spaces_and_underscores_make_no_difference() -> None:
    assert comparable("New_York City") == comparable("new york city")


def test_official_leaves_out_relations_that_are_not_expected_and_strict_does_not() -> None:
    expected = frozenset({("a", "builder", "b"), ("a", "builder", "c")})
    found = measure([Scored([fact("a", "builder", "b"), fact("a", "owner", "d")], expected)])
    assert (found.official_precision, found.official_recall, found.official_f1) == (1.0, 0.5, pytest.approx(2 / 3))
    assert (found.strict_precision, found.strict_recall, found.strict_f1) == (0.5, 0.5, 0.5)


def test_a_document_that_expects_nothing_counts_in_the_strict_measures_alone() -> None:
    right = Scored([fact("a", "r", "b")], frozenset({("a", "r", "b")}))
    found = measure([right, Scored([fact("a", "r", "c")], frozenset())])
    assert (found.official_f1, found.strict_precision) == (1.0, 0.5)


def test_no_document_gives_zeros_and_no_error() -> None:
    assert measure([]).official_f1 == 0.0


def graph(subject_type: str, object_: str, value: str | None = None) -> KnowledgeGraph:
    property = next(each for each in ONTOLOGY.properties if each.domains and each.kind == "object" and each.ranges)
    ends = [
        Entity(id="s", mention="Harrier", types=(subject_type or property.domains[0],)),
        Entity(id="o", mention=object_, types=(property.ranges[0],)),
    ]
    literal = {"object_id": "o"} if value is None else {"literal_value": value, "literal_type": "x:none"}
    evidence = Evidence(text="Harrier built by Holm in 1984", start_char=0, end_char=29)
    relation = Relation(id="r", subject_id="s", predicate_iri=property.iri, evidence=evidence, **literal)
    return KnowledgeGraph(entities=tuple(ends), relations=(relation,))


def test_conformance_asks_for_domain_and_range() -> None:
    text = "Harrier built by Holm in 1984"
    assert [each.conforms for each in facts_of(graph("", "Holm"), text, ONTOLOGY)] == [True]
    assert [each.conforms for each in facts_of(graph("x:Other", "Holm"), text, ONTOLOGY)] == [False]
    assert [each.conforms for each in facts_of(graph("", "Holm", "Holm"), text, ONTOLOGY)] == [False]


def test_an_object_is_invented_unless_the_text_has_it_or_a_date_its_year() -> None:
    text = "Harrier built by Holm in 1984"
    assert [each.invented_object for each in facts_of(graph("", "Holm"), text, ONTOLOGY)] == [False]
    assert [each.invented_object for each in facts_of(graph("", "Per Holm"), text, ONTOLOGY)] == [True]
    assert [each.invented_object for each in facts_of(graph("", "Holm", "1984-05-02"), text, ONTOLOGY)] == [False]
    assert [each.invented_object for each in facts_of(graph("", "Holm", "1985"), text, ONTOLOGY)] == [True]


def test_each_relation_has_a_line_whether_it_is_expected_or_found() -> None:
    expected = expected_of([{"sub": "A", "rel": "made by", "obj": "B"}])
    lines = measure_relations([Scored([fact("a", "ownedby", "c")], expected)], ONTOLOGY)
    counts = [(each.relation, each.expected, each.found, each.right) for each in lines]
    assert counts == [
        ("madeby", 1, 0, 0),
        ("ownedby", 0, 1, 0),
    ]


def test_a_relation_s_precision_counts_the_documents_that_expect_it_alone() -> None:
    expects = Scored([fact("a", "madeby", "b"), fact("a", "madeby", "c")], frozenset({("a", "madeby", "b")}))
    expects_another = Scored([fact("d", "madeby", "e")], frozenset({("d", "ownedby", "e")}))
    line = measure_relations([expects, expects_another], ONTOLOGY)[0]
    assert (line.found, line.considered, line.right, line.considered_precision) == (3, 2, 1, 0.5)
