"""An ontology as a model sees it: labels instead of IRIs, and only the parts that a chunk's words touch where it is large."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from tasks.extraction.ontology import Ontology, OntologyClass, OntologyProperty
from tasks.extraction.sentences import label_words, stem

# Above this servers refuse enums, and prompts cost more than chunks.
MOST_TERMS = 100


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Labels of an ontology, or of a part of it (``is_excerpt``), each of which stands for one IRI. Compared by identity."""

    ontology: Ontology
    classes: Mapping[str, OntologyClass]
    properties: Mapping[str, OntologyProperty]
    is_excerpt: bool
    described: str

    def class_of(self, label: str) -> OntologyClass | None:
        """Return the class that a model means; one outside of the excerpt counts too."""
        return _lookup(self.ontology)[0].get(_key(label))

    def property_of(self, label: str) -> OntologyProperty | None:
        """Return the property that a model means; one outside of the excerpt counts too."""
        return _lookup(self.ontology)[1].get(_key(label))


def vocabulary(ontology: Ontology, text: str) -> Vocabulary:
    """Return the excerpt of the ontology for this text: all of it, the same for every text, unless it is large.

    Of more than MOST_TERMS classes or properties those are told whose labels share most words with the text, then those
    that these relate; the same ones for the same text.
    """
    if len(ontology.classes) <= MOST_TERMS and len(ontology.properties) <= MOST_TERMS:
        return _whole(ontology)
    words = {stem(word) for word in re.findall(r"\w+", text.lower())}
    terms: list[OntologyClass | OntologyProperty] = [*ontology.classes, *ontology.properties]
    touched = {each.iri: _touch(each, words) for each in terms}

    def bounds_touched(each: OntologyProperty) -> int:
        return max((touched.get(iri, 0) for iri in (*each.domains, *each.ranges)), default=0)

    properties = sorted(ontology.properties, key=lambda each: (-touched[each.iri], -bounds_touched(each), each.iri))[:MOST_TERMS]
    related = Counter(iri for each in properties if touched[each.iri] for iri in (*each.domains, *each.ranges))
    classes = sorted(ontology.classes, key=lambda each: (-touched[each.iri], -related[each.iri], each.iri))[:MOST_TERMS]
    return _vocabulary(ontology, classes, properties, True)


def _touch(term: OntologyClass | OntologyProperty, words: set[str]) -> int:
    return max(len({stem(word) for word in label_words(label)} & words) for label in (term.label, *term.alt_labels))


@lru_cache(maxsize=64)
def _whole(ontology: Ontology) -> Vocabulary:
    return _vocabulary(ontology, ontology.classes, ontology.properties, False)


def _vocabulary(
    ontology: Ontology, classes: Iterable[OntologyClass], properties: Iterable[OntologyProperty], is_excerpt: bool
) -> Vocabulary:
    names = _names(ontology)
    by_label = {names[each.iri]: each for each in sorted(classes, key=lambda each: each.iri)}
    properties_by_label = {names[each.iri]: each for each in sorted(properties, key=lambda each: each.iri)}
    lines = ["# Classes", *(f"- {label}{_comment(each.comment)}" for label, each in by_label.items()), "", "# Properties"]
    for label, rule in properties_by_label.items():
        domain = " or ".join(names.get(iri, _local(iri)) for iri in rule.domains) or "anything"
        range_ = " or ".join(names.get(iri, _local(iri)) for iri in rule.ranges)
        range_ = range_ or ("text" if rule.kind == "datatype" else "anything")
        lines.append(f"- {label}: {domain} → {range_}{_comment(rule.comment)}")
    return Vocabulary(ontology, by_label, properties_by_label, is_excerpt, "\n".join(lines) + "\n")


def _comment(comment: str | None) -> str:
    return f" ({' '.join(comment.split())[:200]})" if comment else ""


@lru_cache(maxsize=64)
def _names(ontology: Ontology) -> dict[str, str]:
    """Return a label for each IRI, followed by the local name if two classes, or two properties, share the label."""
    names: dict[str, str] = {}
    kinds: tuple[Sequence[OntologyClass | OntologyProperty], ...] = (ontology.classes, ontology.properties)
    for terms in kinds:
        times = Counter(_key(each.label) for each in terms)
        for each in terms:
            shared = times[_key(each.label)] > 1
            names[each.iri] = f"{each.label} [{_local(each.iri)}]" if shared else each.label
    return names


@lru_cache(maxsize=64)
def _lookup(ontology: Ontology) -> tuple[dict[str, OntologyClass], dict[str, OntologyProperty]]:
    names = _names(ontology)
    return _by_key(ontology.classes, names), _by_key(ontology.properties, names)


def _by_key(terms: Iterable[OntologyClass | OntologyProperty], names: Mapping[str, str]) -> dict:  # type: ignore[type-arg]
    terms = list(terms)
    found = {_key(names[each.iri]): each for each in terms}
    # What a model writes instead of the label that it was given, where it can mean one thing only.
    other = [(_key(word), each) for each in terms for word in {each.label, *each.alt_labels, _local(each.iri), each.iri}]
    times = Counter(key for key, _ in other)
    return {**{key: each for key, each in other if times[key] == 1}, **found}


def _key(label: str) -> str:
    return " ".join(re.sub(r"(?<=[a-z])(?=[A-Z])|[_\s]+", " ", label).split()).casefold()


def _local(iri: str) -> str:
    return re.split(r"[/#:]", iri.rstrip("/#"))[-1]
