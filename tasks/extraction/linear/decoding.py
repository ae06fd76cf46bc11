"""Which of the scored relations are kept, and the entities that they are between."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rdflib import RDFS, XSD

from tasks.extraction.linear.model import LinearModel
from tasks.extraction.linear.scoring import Scene, Scored
from tasks.extraction.linear.spans import Span
from tasks.extraction.ontology import Ontology, OntologyProperty
from tasks.extraction.values import literal_as

_MIN_CONFIDENCE = 0.5


@dataclass(frozen=True, slots=True)
class Found:
    """A relation between two spans. ``literal`` is the object's text and datatype where it is no entity."""

    property: OntologyProperty
    subject: Span
    object: Span
    probability: float
    literal: tuple[str, str] | None


def keep(scene: Scene, pairs: Iterable[Scored], model: LinearModel, properties: Sequence[OntologyProperty]) -> list[Found]:
    """Return the relations of a sentence that are likely enough, the likeliest first; of spans that overlap, one each."""
    candidates: list[tuple[float, int, int, int]] = []
    for pair in pairs:
        for relation, probability in enumerate(pair.probability):
            if probability >= model.threshold:
                candidates.append((-float(probability), relation, pair.subject, pair.object))
    kept: list[tuple[int, Span]] = []
    found = []
    for negative, relation, subject, object_ in sorted(candidates):
        span = scene.spans[object_]
        taken = any(relation == other and span.overlaps(there) for other, there in kept)
        literal, fits = object_of(properties[relation], span)
        if not taken and fits and scene.spans[subject].name.lower() != span.name.lower():
            kept.append((relation, span))
            found.append(Found(properties[relation], scene.spans[subject], span, -negative, literal))
    return found


def object_of(property: OntologyProperty, span: Span) -> tuple[tuple[str, str] | None, bool]:
    """Return the literal that a span is as the property's object, None for an entity, and whether the range allows it."""
    datatypes = [each for each in property.ranges if each.startswith((str(XSD), str(RDFS.Literal)))]
    if property.kind != "datatype" and len(datatypes) < len(property.ranges):
        return None, span.value is None or not datatypes
    if span.value is not None:
        for datatype in datatypes or [str(RDFS.Literal)]:
            literal = literal_as(span.value, None if datatype == str(RDFS.Literal) else datatype)
            if literal is not None:
                return literal, True
    plain = not datatypes or str(XSD.string) in datatypes or str(RDFS.Literal) in datatypes
    return (span.name, str(XSD.string)), plain


class Types:
    """The classes of a document's names, as the relations that are kept imply them."""

    def __init__(self, model: LinearModel, ontology: Ontology) -> None:
        self._model, self._ontology = model, ontology
        self.of: dict[str, list[str]] = {}

    def admit(self, found: Found) -> bool:
        """Note what a relation implies of its ends; False, and nothing is noted, if an end is something else already."""
        subject, object_ = found.subject.name.lower(), found.object.name.lower()
        domains = found.property.domains
        if not domains:
            default = self._model.classes.get(found.property.iri)
            domains = (default,) if default else ()
        wanted = [(subject, self._fitting(subject, domains))]
        if found.literal is None:
            wanted.append((object_, self._fitting(object_, found.property.ranges)))
        if any(iri is None for _, iri in wanted):
            return False
        for name, iri in wanted:
            known = self.of.setdefault(name, [])
            if iri and iri not in known:
                known.append(iri)
        return True

    def _fitting(self, name: str, wanted: Sequence[str]) -> str | None:
        """Return the class among the wanted ones that a name may have beside those it has; None if there is none."""
        known = self.of.get(name, [])
        for iri in wanted:
            if any(self._ontology.is_a(each, iri) for each in known):
                return next(each for each in known if self._ontology.is_a(each, iri))
        for iri in wanted:
            if all(self._may_be_both(iri, each) for each in known):
                return iri
        return None

    def _may_be_both(self, one: str, other: str) -> bool:
        related = self._ontology.is_a(one, other) or self._ontology.is_a(other, one)
        return related or tuple(sorted((one, other))) in self._model.together


def admitted(found: Iterable[Found], types: Types) -> Iterator[Found]:
    """Yield the relations of a document whose ends can be what domain and range ask for, the likeliest first."""
    yield from (each for each in sorted(found, key=lambda each: -each.probability) if types.admit(each))


def confidence_of(found: Found, model: LinearModel) -> float:
    """Return how certain a relation is, 0.5 to 1: its probability, corrected for rows that label only a part of their facts."""
    return round(min(1.0, max(_MIN_CONFIDENCE, found.probability / model.labelled)), 4)
