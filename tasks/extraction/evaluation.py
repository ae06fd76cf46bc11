"""How right an extractor's graphs are: measures against triples that people wrote down. Pure functions."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean
from typing import Any

from compat.contracts import KnowledgeGraph, Relation
from tasks.extraction.ontology import Ontology
from tasks.extraction.values import date_of

Triple = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Fact:
    """A relation of a graph as it is compared.

    Attributes:
        triple: Subject, the property's label, and object, each as ``normal`` and ``comparable`` make them.
        conforms: Whether the ontology has the property, and its domain and range allow the two ends.
        invented_subject: Whether the text doesn't contain the subject.
        invented_object: Whether the text doesn't contain the object; a date is contained if its year is in the evidence.
    """

    triple: Triple
    conforms: bool
    invented_subject: bool
    invented_object: bool


@dataclass(frozen=True, slots=True)
class Scored:
    """One document's facts beside the expected triples.

    ``is_known`` says that its text is one of the training rows'; ``types`` is what ``types_of`` says of its entities.
    """

    facts: Sequence[Fact]
    expected: frozenset[Triple]
    is_known: bool = False
    types: Sequence[bool] = ()


@dataclass(frozen=True, slots=True)
class Measures:
    """Shares from 0 to 1, over a number of documents.

    The official ones are means over documents, of which facts are first left out whose relation the document doesn't
    expect; ``considered_precision`` counts the others, of all documents. The strict ones count every fact of every document.
    ``type_precision`` is over the ``typed`` entities of which an expected triple implies a class.
    """

    documents: int
    expected: int
    found: int
    right: int
    official_precision: float
    official_recall: float
    official_f1: float
    considered_precision: float
    strict_precision: float
    strict_recall: float
    strict_f1: float
    conformance: float
    invented_subjects: float
    invented_objects: float
    typed: int
    type_precision: float

    def to_dict(self) -> dict[str, Any]:
        """Return the measures by their names."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class RelationMeasures:
    """Strict counts of one relation, by its label.

    ``considered`` are the found ones in documents that expect the relation, of which alone it is known whether they are right.
    """

    relation: str
    expected: int
    found: int
    considered: int
    right: int

    @property
    def f1(self) -> float:
        """Return the strict F1."""
        return _share(2 * self.right, self.expected + self.found)

    @property
    def considered_precision(self) -> float:
        """Return the share of the considered ones that are right; 0 where there are none."""
        return _share(self.right, self.considered)


def normal(text: str) -> str:
    """Return a text as texts are compared: in lower case, without spaces and underscores."""
    return text.lower().replace(" ", "").replace("_", "")


def comparable(value: str) -> str:
    """Return an object as objects are compared. Dates in any form are one day; a year is its first of January."""
    found = date_of(value)
    if found is None:
        return normal(value)
    return "-".join((*found.split("-"), "01", "01")[:3])


def expected_of(triples: Iterable[dict[str, str]]) -> frozenset[Triple]:
    """Return rows of ``{sub, rel, obj}`` as facts are compared."""
    return frozenset((normal(each["sub"]), normal(each["rel"]), comparable(each["obj"])) for each in triples)


def facts_of(graph: KnowledgeGraph, text: str, ontology: Ontology) -> list[Fact]:
    """Return the relations of a document's graph as facts, each triple once."""
    entities = {each.id: each for each in graph.entities}
    properties = {each.iri: each for each in ontology.properties}
    plain = normal(text)
    found: dict[Triple, Fact] = {}
    for relation in graph.relations:
        subject, property = entities[relation.subject_id], properties.get(relation.predicate_iri)
        object_ = entities[relation.object_id] if relation.object_id is not None else None
        said = object_.name if object_ else str(relation.literal_value)
        triple = (normal(subject.name), normal(property.label if property else relation.predicate_iri), comparable(said))
        conforms = property is not None and (
            ontology.allows(property, subject.types, object_.types)
            if object_
            else ontology.allows_literal(property, subject.types, str(relation.literal_type))
        )
        invented = normal(said) not in plain and not (object_ is None and _is_read(said, relation))
        found.setdefault(triple, Fact(triple, conforms, normal(subject.name) not in plain, invented))
    return list(found.values())


def classes_of(triples: Iterable[Triple], ontology: Ontology) -> dict[str, set[str]]:
    """Return the classes that expected triples imply for their subjects and objects, by domain and range."""
    properties = {normal(each.label): each for each in ontology.properties}
    known = {each.iri for each in ontology.classes}
    found: dict[str, set[str]] = defaultdict(set)
    for subject, relation, object_ in triples:
        if relation in properties:
            found[subject].update(known.intersection(properties[relation].domains))
            found[object_].update(known.intersection(properties[relation].ranges))
    return found


def types_of(graph: KnowledgeGraph, classes: Mapping[str, Collection[str]], ontology: Ontology) -> list[bool]:
    """Return, for each entity of which ``classes`` knows one, whether one of its types is such a class, or above or below one."""
    return [
        any(ontology.is_a(type_, iri) or ontology.is_a(iri, type_) for type_ in entity.types for iri in implied)
        for entity in graph.entities
        if (implied := classes.get(normal(entity.name)))
    ]


def _is_read(value: str, relation: Relation) -> bool:
    """Whether a normalised literal was read off its evidence: a date by its year, a number by its digits."""
    evidence = "".join(each for each in (relation.evidence.text if relation.evidence else "") if each.isalnum())
    year = value.split("-", maxsplit=1)[0] if date_of(value) else "".join(each for each in value if each.isalnum())
    return year in evidence


def measure(documents: Collection[Scored]) -> Measures:
    """Return the measures over all of the documents. One that expects nothing counts in the strict ones alone."""
    precision, recall, f1 = [], [], []
    considered_facts = 0
    for each in documents:
        if each.expected:
            asked = {relation for _, relation, _ in each.expected}
            considered = {fact.triple for fact in each.facts if fact.triple[1] in asked}
            considered_facts += len(considered)
            right = len(considered & each.expected)
            precision.append(_share(right, len(considered)))
            recall.append(right / len(each.expected))
            f1.append(2 * right / (len(considered) + len(each.expected)))
    facts = [fact for each in documents for fact in each.facts]
    right = sum(fact.triple in each.expected for each in documents for fact in each.facts)
    expected = sum(len(each.expected) for each in documents)
    types = [is_right for each in documents for is_right in each.types]
    return Measures(
        documents=len(documents),
        expected=expected,
        found=len(facts),
        right=right,
        official_precision=mean(precision) if precision else 0.0,
        official_recall=mean(recall) if recall else 0.0,
        official_f1=mean(f1) if f1 else 0.0,
        considered_precision=_share(right, considered_facts),
        strict_precision=_share(right, len(facts)),
        strict_recall=_share(right, expected),
        strict_f1=_share(2 * right, len(facts) + expected),
        conformance=_share(sum(fact.conforms for fact in facts), len(facts), nothing=1.0),
        invented_subjects=_share(sum(fact.invented_subject for fact in facts), len(facts)),
        invented_objects=_share(sum(fact.invented_object for fact in facts), len(facts)),
        typed=len(types),
        type_precision=_share(sum(types), len(types)),
    )


def measure_relations(documents: Iterable[Scored], ontology: Ontology) -> list[RelationMeasures]:
    """Return the measures of every relation that is expected or found, the most expected first."""
    labels = {normal(each.label): each.label for each in ontology.properties}
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for each in documents:
        asked = {relation for _, relation, _ in each.expected}
        for triple in each.expected:
            counts[triple[1]][0] += 1
        for fact in each.facts:
            counts[fact.triple[1]][1] += 1
            counts[fact.triple[1]][2] += fact.triple[1] in asked
            counts[fact.triple[1]][3] += fact.triple in each.expected
    rows = [RelationMeasures(labels.get(name, name), *count) for name, count in counts.items()]
    return sorted(rows, key=lambda row: (-row.expected, row.relation))


def _share(part: int, whole: int, nothing: float = 0.0) -> float:
    return part / whole if whole else nothing
