"""The classes, properties and named individuals that an ontology offers an extractor (CONTRACT 9.1)."""

import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal
from urllib.parse import unquote

import rdflib
from rdflib import OWL, RDF, RDFS, SKOS
from rdflib.collection import Collection
from rdflib.term import Node

from compat.errors import OntologyParseError
from tasks.extraction.syntaxes import read_graph

_SCHEMA = ("http://schema.org/", "https://schema.org/")
_LITERALS = (str(rdflib.XSD), str(RDFS.Literal), str(RDF.langString), str(RDF.PlainLiteral))
_LANGUAGES = (str(OWL), str(RDF), str(RDFS), str(rdflib.XSD))
_ANYTHING = (str(OWL.Thing), str(RDFS.Resource), *(f"{base}Thing" for base in _SCHEMA))
_DOMAINS: tuple[Node, ...] = (RDFS.domain, *(rdflib.URIRef(f"{base}domainIncludes") for base in _SCHEMA))
_RANGES: tuple[Node, ...] = (RDFS.range, *(rdflib.URIRef(f"{base}rangeIncludes") for base in _SCHEMA))
_DATATYPE_KINDS: tuple[Node, ...] = (RDFS.Datatype, *(rdflib.URIRef(f"{base}DataType") for base in _SCHEMA))
# schema.org's own datatypes, by their names.
_SCHEMA_DATATYPES = {
    "Text": str(rdflib.XSD.string),
    "URL": str(rdflib.XSD.anyURI),
    "Date": str(rdflib.XSD.date),
    "DateTime": str(rdflib.XSD.dateTime),
    "Time": str(rdflib.XSD.time),
    "Number": str(rdflib.XSD.decimal),
    "Integer": str(rdflib.XSD.integer),
    "Float": str(rdflib.XSD.float),
    "Boolean": str(rdflib.XSD.boolean),
}


@dataclass(frozen=True, slots=True)
class OntologyClass:
    """A class. ``label`` is its first name, or its IRI's last part; ``parents`` are the direct superclasses, declared or not."""

    iri: str
    label: str
    alt_labels: tuple[str, ...] = ()
    comment: str | None = None
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OntologyProperty:
    """A property. ``label`` is its first name, or its IRI's last part; of kind ``any`` it takes things and literals.

    ``domains`` and ``ranges`` are alternatives: one that fits is enough. They hold what can be checked, so a class
    that the ontology never declares isn't among them; an empty tuple means anything goes. Datatypes are in
    ``ranges`` by their IRI. A property without its own inherits them from its superproperties.
    """

    iri: str
    label: str
    kind: Literal["object", "datatype", "any"]
    alt_labels: tuple[str, ...] = ()
    comment: str | None = None
    domains: tuple[str, ...] = ()
    ranges: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Individual:
    """A named thing that the ontology itself knows, e.g. a genre. ``types`` are its classes."""

    iri: str
    labels: tuple[str, ...]
    types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OntologySummary:
    """What was read of an ontology, and what was left out.

    Attributes:
        classes: Classes that entities can have.
        properties: Properties that relations can have.
        individuals: Named things that the ontology itself knows.
        named_by_iri: Classes and properties without a label, named by the last part of their IRI.
        imports: The ontologies that ``owl:imports`` names, which are not fetched.
        unnamed_classes: Classes without an IRI (restrictions, unions), which no entity can bear.
    """

    classes: int
    properties: int
    individuals: int
    named_by_iri: int
    imports: tuple[str, ...]
    unnamed_classes: int

    @property
    def usable(self) -> bool:
        """Whether an extractor can find anything by it: without a class there is no entity."""
        return self.classes > 0

    def __str__(self) -> str:
        """Return the summary in one line."""
        counts = ((self.classes, "class", "classes"), (self.properties, "property", "properties"))
        named = (*counts, (self.individuals, "individual", "individuals"))
        parts = [", ".join(f"{count:,} {one if count == 1 else many}" for count, one, many in named)]
        if self.named_by_iri:
            parts.append(f"{self.named_by_iri:,} without a label named by their IRI")
        if self.unnamed_classes:
            parts.append(f"{self.unnamed_classes:,} without an IRI left out")
        if self.imports:
            parts.append(f"owl:imports of {len(self.imports)} not followed")
        return "; ".join(parts)


@dataclass(frozen=True, eq=False)
class Ontology:
    """What one text declares, each tuple in the order of its IRIs. Compared by identity."""

    classes: tuple[OntologyClass, ...]
    properties: tuple[OntologyProperty, ...]
    individuals: tuple[Individual, ...]
    class_ancestors: dict[str, frozenset[str]]
    property_ancestors: dict[str, frozenset[str]]
    summary: OntologySummary

    def is_a(self, class_iri: str, ancestor_iri: str) -> bool:
        """Return whether the class is the other one or below it."""
        return class_iri == ancestor_iri or ancestor_iri in self.class_ancestors.get(class_iri, ())

    def is_any(self, class_iris: Iterable[str], wanted: tuple[str, ...]) -> bool:
        """Return whether one of the classes is, or is below, one of the wanted ones; always true if nothing is wanted."""
        return not wanted or any(self.is_a(given, one) for given in class_iris for one in wanted)

    def allows(self, property: OntologyProperty, subject_types: Iterable[str], object_types: Iterable[str]) -> bool:
        """Return whether the property's domain and range allow a relation between things of these types."""
        return (
            property.kind != "datatype"
            and self.is_any(subject_types, property.domains)
            and self.is_any(object_types, property.ranges)
        )

    def allows_literal(self, property: OntologyProperty, subject_types: Iterable[str], literal_type: str) -> bool:
        """Return whether the property's domain and range allow a literal of this datatype."""
        general = str(RDFS.Literal) in property.ranges or not property.ranges
        return self.is_any(subject_types, property.domains) and (general or literal_type in property.ranges)


_parsing = threading.Lock()


def parse_ontology(content: str) -> Ontology:
    """Return the ontology in a text of one of the RDF syntaxes (``tasks.extraction.syntaxes``).

    Each distinct text is parsed once per process, one that doesn't parse included, however many threads ask for it.
    Raises OntologyParseError, which names the place, the reason and what to do.
    """
    if not isinstance(content, str):
        raise OntologyParseError(f"The ontology is {type(content).__name__}, not text; pass the content of its file")
    # One lock for all: rdflib promises no thread safety, and a parse takes milliseconds.
    with _parsing:
        found = _parsed(content)
    if isinstance(found, OntologyParseError):
        # A new one each time: a raised error gathers the traceback of whoever raises it.
        raise OntologyParseError(found.message, found.format, found.cause)
    return found


@lru_cache(maxsize=64)
def _parsed(content: str) -> Ontology | OntologyParseError:
    try:
        return _read(read_graph(content))
    except OntologyParseError as error:
        return OntologyParseError(error.message, error.format, error.cause)


def _read(graph: rdflib.Graph) -> Ontology:
    class_ancestors = _ancestors(graph, RDFS.subClassOf)
    property_ancestors = _ancestors(graph, RDFS.subPropertyOf)
    class_iris = _declared(graph, OWL.Class, RDFS.Class) - _declared(graph, *_DATATYPE_KINDS)
    unnamed = 0
    classes = []
    for iri in _sorted(class_iris):
        labels = _labels(graph, iri)
        unnamed += not labels
        label, *others = labels or (local_name(str(iri)),)
        classes.append(OntologyClass(str(iri), label, tuple(others), _comment(graph, iri), _iris(graph, iri, RDFS.subClassOf)))
    known = {each.iri for each in classes}
    # A class that is declared nowhere still counts as a bound if a declared one is below it.
    checkable = known.union(*(class_ancestors.get(iri, frozenset()) for iri in known))

    def bounds(iri: Node, predicates: tuple[Node, ...]) -> tuple[str, ...]:
        own = _bounds(graph, iri, predicates)
        if not own:
            nearest = sorted(property_ancestors.get(str(iri), ()), key=lambda each: (len(property_ancestors.get(each, ())), each))
            for parent in reversed(nearest):
                if own := _bounds(graph, rdflib.URIRef(parent), predicates):
                    break
        if any(each in _ANYTHING for each in own):
            return ()
        return tuple(each for each in own if each in checkable or each.startswith(_LITERALS))

    property_iris = _declared(graph, OWL.ObjectProperty, OWL.DatatypeProperty, RDF.Property)
    properties = []
    for iri in _sorted(property_iris):
        labels = _labels(graph, iri)
        unnamed += not labels
        label, *others = labels or (local_name(str(iri)),)
        ranges = bounds(iri, _RANGES)
        properties.append(
            OntologyProperty(
                iri=str(iri),
                label=label,
                kind=_kind(graph, iri, ranges),
                alt_labels=tuple(others),
                comment=_comment(graph, iri),
                domains=bounds(iri, _DOMAINS),
                ranges=ranges,
                parents=_iris(graph, iri, RDFS.subPropertyOf),
            )
        )
    subjects = {subject for subject in graph.subjects(RDF.type, None) if isinstance(subject, rdflib.URIRef)}
    individuals = tuple(
        Individual(str(iri), labels, types)
        for iri in _sorted(subjects - class_iris - property_iris)
        if (types := tuple(each for each in _iris(graph, iri, RDF.type) if each in known)) and (labels := _labels(graph, iri))
    )
    summary = OntologySummary(
        classes=len(classes),
        properties=len(properties),
        individuals=len(individuals),
        named_by_iri=unnamed,
        imports=tuple(sorted({str(each) for each in graph.objects(None, OWL.imports)})),
        unnamed_classes=_count_unnamed(graph),
    )
    return Ontology(tuple(classes), tuple(properties), individuals, class_ancestors, property_ancestors, summary)


def _count_unnamed(graph: rdflib.Graph) -> int:
    """Classes without an IRI that nothing is read of; a union is read as its members."""
    unnamed = {
        each for kind in (OWL.Class, RDFS.Class) for each in graph.subjects(RDF.type, kind) if isinstance(each, rdflib.BNode)
    }
    return sum(graph.value(each, OWL.unionOf) is None for each in unnamed)


def _declared(graph: rdflib.Graph, *kinds: Node) -> set[Node]:
    """Return what is declared as one of the kinds; the words of RDF and OWL themselves are no vocabulary of a domain."""
    found = {iri for kind in kinds for iri in graph.subjects(RDF.type, kind)}
    return {iri for iri in found if not str(iri).startswith(_LANGUAGES)}


def _kind(graph: rdflib.Graph, iri: Node, ranges: tuple[str, ...]) -> Literal["object", "datatype", "any"]:
    """Return what a property points to: as OWL declares it; an RDF property by its range, anything if it has none."""
    if (iri, RDF.type, OWL.DatatypeProperty) in graph:
        return "datatype"
    if (iri, RDF.type, OWL.ObjectProperty) in graph:
        return "object"
    literal = [each.startswith(_LITERALS) for each in ranges]
    if not literal or len(set(literal)) > 1:
        return "any"
    return "datatype" if literal[0] else "object"


def _bounds(graph: rdflib.Graph, iri: Node, predicates: tuple[Node, ...]) -> tuple[str, ...]:
    found = {each for predicate in predicates for each in _iris(graph, iri, predicate)}
    return tuple(sorted({_xsd_for(each) for each in found}))


def _xsd_for(iri: str) -> str:
    """Return the XSD datatype that one of schema.org's own stands for; any other IRI unchanged."""
    base, _, name = iri.rpartition("/")
    return _SCHEMA_DATATYPES.get(name, iri) if f"{base}/" in _SCHEMA else iri


def local_name(iri: str) -> str:
    """Return the words of an IRI's last part, split at case, digits and underscores: ``…#dateOfBirth2`` is "date of birth 2"."""
    name = unquote(re.split(r"[#/:]", iri.rstrip("#/:"))[-1])
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+|[A-Z]", name)
    return " ".join(word if len(word) > 1 and word.isupper() else word.lower() for word in words) or iri


def _sorted(iris: Iterable[Node]) -> list[rdflib.URIRef]:
    return sorted((iri for iri in iris if isinstance(iri, rdflib.URIRef)), key=str)


def _iris(graph: rdflib.Graph, subject: Node, predicate: Node) -> tuple[str, ...]:
    """Objects that are IRIs, sorted. A union is replaced by its members."""
    found: set[str] = set()
    for value in graph.objects(subject, predicate):
        union = graph.value(value, OWL.unionOf)
        members = Collection(graph, union) if union is not None else [value]
        found.update(str(member) for member in members if isinstance(member, rdflib.URIRef))
    return tuple(sorted(found))


def _texts(graph: rdflib.Graph, subject: Node, predicate: Node) -> tuple[str, ...]:
    """Literals, sorted: those without a language first, then English, then the others."""
    rank = {None: 0, "": 0, "en": 1}
    literals = [value for value in graph.objects(subject, predicate) if isinstance(value, rdflib.Literal)]
    literals.sort(key=lambda value: (rank.get((value.language or "").split("-")[0], 2), value.language or "", str(value)))
    return tuple(dict.fromkeys(text for value in literals if (text := " ".join(str(value).split()))))


def _labels(graph: rdflib.Graph, subject: Node) -> tuple[str, ...]:
    """All names in every language: labels first, then preferred, then alternative ones."""
    kinds = (RDFS.label, SKOS.prefLabel, SKOS.altLabel)
    return tuple(dict.fromkeys(text for kind in kinds for text in _texts(graph, subject, kind)))


def _comment(graph: rdflib.Graph, subject: Node) -> str | None:
    return next(iter(_texts(graph, subject, RDFS.comment)), None)


def _ancestors(graph: rdflib.Graph, predicate: Node) -> dict[str, frozenset[str]]:
    """Return everything above each node, without the node itself; cycles are allowed."""
    parents: dict[str, set[str]] = {}
    for node in set(graph.subjects(predicate, None)):
        parents[str(node)] = set(_iris(graph, node, predicate))
    found: dict[str, frozenset[str]] = {}
    for child, direct in parents.items():
        above: set[str] = set()
        ahead = list(direct)
        while ahead:
            parent = ahead.pop()
            if parent not in above:
                above.add(parent)
                ahead.extend(parents.get(parent, ()))
        found[child] = frozenset(above - {child})
    return found
