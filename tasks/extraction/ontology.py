"""The classes, properties and named individuals that an ontology (Turtle) offers an extractor (CONTRACT 9.1)."""

import logging
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType
from typing import Literal

import rdflib
from rdflib import OWL, RDF, RDFS, SKOS
from rdflib.collection import Collection
from rdflib.plugins.parsers.notation3 import BadSyntax
from rdflib.term import Node

from compat.errors import OntologyParseError

# Relative IRIs must not come out as paths of the folder that the process happens to run in.
_BASE = "https://ontology.invalid/"
_LITERALS = (str(rdflib.XSD), str(RDFS.Literal), str(RDF.langString), str(RDF.PlainLiteral))


@dataclass(frozen=True, slots=True)
class OntologyClass:
    """A class that has a label. ``parents`` are the direct superclasses, labelled or not."""

    iri: str
    label: str
    alt_labels: tuple[str, ...] = ()
    comment: str | None = None
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OntologyProperty:
    """A property that has a label.

    ``domains`` and ``ranges`` are alternatives: one that fits is enough. They hold what can be checked, so a class
    that the ontology never declares isn't among them; an empty tuple means anything goes. Datatypes are in
    ``ranges`` by their IRI. A property without its own inherits them from its superproperties.
    """

    iri: str
    label: str
    kind: Literal["object", "datatype"]
    alt_labels: tuple[str, ...] = ()
    comment: str | None = None
    domains: tuple[str, ...] = ()
    ranges: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Individual:
    """A named thing that the ontology itself knows, e.g. a genre. ``types`` are labelled classes."""

    iri: str
    labels: tuple[str, ...]
    types: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Ontology:
    """What one Turtle text declares, each tuple in the order of its IRIs. Compared by identity."""

    classes: tuple[OntologyClass, ...]
    properties: tuple[OntologyProperty, ...]
    individuals: tuple[Individual, ...]
    class_ancestors: dict[str, frozenset[str]]
    property_ancestors: dict[str, frozenset[str]]

    def is_a(self, class_iri: str, ancestor_iri: str) -> bool:
        """Return whether the class is the other one or below it."""
        return class_iri == ancestor_iri or ancestor_iri in self.class_ancestors.get(class_iri, ())

    def is_any(self, class_iris: Iterable[str], wanted: tuple[str, ...]) -> bool:
        """Return whether one of the classes is, or is below, one of the wanted ones; always true if nothing is wanted."""
        return not wanted or any(self.is_a(given, one) for given in class_iris for one in wanted)

    def allows(self, property: OntologyProperty, subject_types: Iterable[str], object_types: Iterable[str]) -> bool:
        """Return whether the property's domain and range allow a relation between things of these types."""
        return (
            property.kind == "object"
            and self.is_any(subject_types, property.domains)
            and self.is_any(object_types, property.ranges)
        )

    def allows_literal(self, property: OntologyProperty, subject_types: Iterable[str], literal_type: str) -> bool:
        """Return whether the property's domain and range allow a literal of this datatype."""
        general = str(RDFS.Literal) in property.ranges or not property.ranges
        return self.is_any(subject_types, property.domains) and (general or literal_type in property.ranges)


_parsing = threading.Lock()


def parse_ontology(content: str) -> Ontology:
    """Return the ontology in a Turtle text. Each distinct text is parsed once per process, however many threads ask for it.

    Raises OntologyParseError, which names the line and the reason.
    """
    if not isinstance(content, str):
        raise OntologyParseError(f"The ontology is {type(content).__name__}, not text; pass the content of a Turtle file")
    # One lock for all: rdflib promises no thread safety, and a parse takes milliseconds.
    with _parsing:
        return _parsed(content)


@lru_cache(maxsize=64)
def _parsed(content: str) -> Ontology:
    graph = rdflib.Graph()
    try:
        with quiet_terms():
            graph.parse(data=content, format="turtle", publicID=_BASE)
    except BadSyntax as error:
        line = error._str[: error._i].count(b"\n") + 1
        raise _unparsed(f"line {line}: {error._why}", error) from error
    except Exception as error:  # for some texts the parser raises AssertionError, ValueError and others
        line_or_none = _line_of(error.__traceback__)
        where = f"line {line_or_none}: " if line_or_none else ""
        raise _unparsed(f"{where}{str(error).splitlines()[0] if str(error) else type(error).__name__}", error) from error
    return _read(graph)


def _unparsed(what: str, error: Exception) -> OntologyParseError:
    return OntologyParseError(
        f"The ontology isn't valid Turtle, {what}; mend that line and run again", "turtle", f"{type(error).__name__}: {error}"
    )


def _line_of(traceback: TracebackType | None) -> int | None:
    """Return the line where the parser stopped; unless the error is a BadSyntax, only the parser's own frames have it."""
    line = None
    while traceback is not None:
        text, position = (traceback.tb_frame.f_locals.get(name) for name in ("argstr", "i"))
        if isinstance(text, bytes) and isinstance(position, int):
            line = text[:position].count(b"\n") + 1
        elif isinstance(text, str) and isinstance(position, int):
            line = text[:position].count("\n") + 1
        traceback = traceback.tb_next
    return line


@contextmanager
def quiet_terms() -> Iterator[None]:
    """Silence rdflib's log about odd IRIs and literals while *this* thread parses; other threads' logging doesn't change."""
    thread = threading.get_ident()

    def keep(record: logging.LogRecord) -> bool:
        return record.thread != thread

    logger = logging.getLogger("rdflib.term")
    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)


def _read(graph: rdflib.Graph) -> Ontology:
    class_ancestors = _ancestors(graph, RDFS.subClassOf)
    property_ancestors = _ancestors(graph, RDFS.subPropertyOf)
    class_iris = {iri for kind in (OWL.Class, RDFS.Class) for iri in graph.subjects(RDF.type, kind)}
    classes = tuple(
        OntologyClass(
            str(iri), label, _texts(graph, iri, SKOS.altLabel), _comment(graph, iri), _iris(graph, iri, RDFS.subClassOf)
        )
        for iri in _sorted(class_iris)
        if (label := _label(graph, iri))
    )
    labelled = {each.iri for each in classes}
    # A class without a label still counts as a bound if a labelled one is below it.
    checkable = labelled.union(*(class_ancestors.get(iri, frozenset()) for iri in labelled))

    def bounds(iri: Node, predicate: Node) -> tuple[str, ...]:
        own = _iris(graph, iri, predicate)
        if not own:
            nearest = sorted(property_ancestors.get(str(iri), ()), key=lambda each: (len(property_ancestors.get(each, ())), each))
            for parent in reversed(nearest):
                if own := _iris(graph, rdflib.URIRef(parent), predicate):
                    break
        if any(each in (str(OWL.Thing), str(RDFS.Resource)) for each in own):
            return ()
        return tuple(each for each in own if each in checkable or each.startswith(_LITERALS))

    property_iris = {iri for kind in (OWL.ObjectProperty, OWL.DatatypeProperty) for iri in graph.subjects(RDF.type, kind)}
    properties = tuple(
        OntologyProperty(
            iri=str(iri),
            label=label,
            kind="datatype" if (iri, RDF.type, OWL.DatatypeProperty) in graph else "object",
            alt_labels=_texts(graph, iri, SKOS.altLabel),
            comment=_comment(graph, iri),
            domains=bounds(iri, RDFS.domain),
            ranges=bounds(iri, RDFS.range),
            parents=_iris(graph, iri, RDFS.subPropertyOf),
        )
        for iri in _sorted(property_iris)
        if (label := _label(graph, iri))
    )
    subjects = {subject for subject in graph.subjects(RDF.type, None) if isinstance(subject, rdflib.URIRef)}
    individuals = tuple(
        Individual(str(iri), tuple(dict.fromkeys([label, *_texts(graph, iri, SKOS.altLabel)])), types)
        for iri in _sorted(subjects - class_iris - property_iris)
        if (types := tuple(each for each in _iris(graph, iri, RDF.type) if each in labelled)) and (label := _label(graph, iri))
    )
    return Ontology(classes, properties, individuals, class_ancestors, property_ancestors)


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


def _label(graph: rdflib.Graph, subject: Node) -> str | None:
    return next((text for predicate in (RDFS.label, SKOS.prefLabel) for text in _texts(graph, subject, predicate)), None)


def _comment(graph: rdflib.Graph, subject: Node) -> str | None:
    return next(iter(_texts(graph, subject, RDFS.comment)), None)


def _ancestors(graph: rdflib.Graph, predicate: Node) -> dict[str, frozenset[str]]:
    """Return everything above each node, without the node itself; cycles are allowed."""
    parents: dict[str, set[str]] = {}
    for node in set(graph.subjects(predicate, None)):
        parents[str(node)] = set(_iris(graph, node, predicate))
    found: dict[str, frozenset[str]] = {}
    for child in parents:
        above: set[str] = set()
        ahead = list(parents[child])
        while ahead:
            parent = ahead.pop()
            if parent not in above:
                above.add(parent)
                ahead.extend(parents.get(parent, ()))
        found[child] = frozenset(above - {child})
    return found
