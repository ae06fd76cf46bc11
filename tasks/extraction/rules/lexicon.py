"""What the rules derive from an ontology before they read a text: cues for its properties, names of its classes."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeVar

from rdflib import XSD

from tasks.extraction.ontology import Ontology, OntologyProperty
from tasks.extraction.rules.words import (
    DATE_WORDS,
    GENERAL_LABELS,
    KIND_OF_WORD,
    LABEL_KINDS,
    LABEL_NOISE,
    NUMBER_WORDS,
    SYNONYMS,
    Kind,
)
from tasks.extraction.sentences import label_words, stem, words_of

T = TypeVar("T")
Wanted = Literal["entity", "date", "number", "text"]
# How a label reads: `S label O` (located in), `S's label is O` (capital), or a label that names the doer (built by, author).
Voice = Literal["forward", "noun", "agent"]

_SYNONYM_STRENGTH = 0.85
_DATE_TYPES = {str(XSD[name]) for name in ("date", "dateTime", "gYear", "gYearMonth")}
_NUMBER_TYPES = {
    str(XSD[name])
    for name in ("integer", "int", "long", "short", "decimal", "float", "double", "nonNegativeInteger", "positiveInteger")
}


@dataclass(frozen=True, slots=True)
class Rule:
    """A property as the rules see it. ``datatype`` is set where its objects are literals of a known type."""

    property: OntologyProperty
    wants: Wanted
    literal: bool
    datatype: str | None


@dataclass(frozen=True, slots=True)
class Phrase:
    """One label of a property: the stems of its words, the weights of those that count, which come to 1, and how it reads."""

    rule: Rule
    stems: tuple[str, ...]
    weights: tuple[float, ...]
    voice: Voice


@dataclass(frozen=True, slots=True)
class Cue:
    """A stem that stands for one word of a phrase. ``strength`` is 1 for the word itself, less for a synonym.

    ``converse``: it says the reverse, as ``son`` does for ``father``.
    """

    phrase: int
    slot: int
    strength: float
    converse: bool = False


@dataclass(frozen=True, eq=False)
class Lexicon:
    """Look-up tables of one ontology.

    ``classes`` and ``individuals`` are keyed by the first stem or word of a label. ``roots`` are the classes of a kind
    that are below no other class of that kind, in the order of the ontology.
    """

    ontology: Ontology
    phrases: tuple[Phrase, ...]
    cues: dict[str, tuple[Cue, ...]]
    classes: dict[str, tuple[tuple[tuple[str, ...], str], ...]]
    individuals: dict[str, tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]]
    kinds: dict[str, Kind]
    kinds_below: dict[str, frozenset[Kind]]
    roots: dict[str, tuple[str, ...]]

    def class_of_kind(self, kind: str) -> str | None:
        """Return the class of a name of which only the kind is known: the only root, or the one with a general label."""
        roots = self.roots.get(kind, ())
        if len(roots) == 1:
            return roots[0]
        general = (each.iri for each in self.ontology.classes if each.iri in roots and each.label.lower() in GENERAL_LABELS)
        return next(general, None)


@lru_cache(maxsize=64)
def lexicon_of(ontology: Ontology) -> Lexicon:
    """Return the lexicon of an ontology, built once per ontology."""
    kinds = _kinds(ontology)
    rules = [_rule(each, kinds) for each in ontology.properties]
    labels = [(rule, label) for rule in rules for label in dict.fromkeys((rule.property.label, *rule.property.alt_labels))]
    spread = Counter(word for rule in rules for word in {stem(word) for word in label_words(rule.property.label)})
    nouns = {stem(each.label.lower()) for each in ontology.classes}
    phrases: list[Phrase] = []
    cues: dict[str, list[Cue]] = defaultdict(list)
    for rule, label in labels:
        words = label_words(label)
        content = [word for word in words if word not in LABEL_NOISE]
        if rule.wants in ("date", "number"):
            # The value shows that it is a date; only what happened then needs a word.
            content = [word for word in content if word not in LABEL_KINDS] or content
        if not content:
            continue
        weigh = [
            (0.25 if word in LABEL_KINDS and len(content) > 1 else 1.0) / (1 + 0.2 * (spread[stem(word)] - 1)) for word in content
        ]
        phrases.append(
            Phrase(rule, tuple(map(stem, words)), tuple(weight / sum(weigh) for weight in weigh), _voice(words, content, rule))
        )
        for slot, word in enumerate(content):
            synonyms = SYNONYMS.get(word, "").split()
            for each in synonyms:
                if each.startswith("~"):
                    cues[stem(each[1:])].append(Cue(len(phrases) - 1, slot, _SYNONYM_STRENGTH, converse=True))
            strengths = {_cue(each): _SYNONYM_STRENGTH for each in synonyms if not each.startswith("~")}
            strengths |= dict.fromkeys(_verbs(word), 0.95)
            # "film" is what something is, and says nothing of a filming location.
            if not (word.endswith("ing") and stem(word) in nouns):
                strengths[stem(word)] = 1.0
            for each, strength in strengths.items():
                cues[each].append(Cue(len(phrases) - 1, slot, strength))
    return Lexicon(
        ontology,
        tuple(phrases),
        {each: tuple(found) for each, found in cues.items()},
        _keyed(
            [
                (tuple(map(stem, label_words(label))), each.iri)
                for each in ontology.classes
                for label in (each.label, *each.alt_labels)
            ]
        ),
        _keyed([(words_of(label), each.types) for each in ontology.individuals for label in each.labels]),
        kinds,
        _kinds_below(ontology, kinds),
        _roots(ontology, kinds),
    )


def _keyed(entries: Iterable[tuple[tuple[str, ...], T]]) -> dict[str, tuple[tuple[tuple[str, ...], T], ...]]:
    """Entries by their first word, longer ones first."""
    table: dict[str, list[tuple[tuple[str, ...], T]]] = defaultdict(list)
    for words, value in entries:
        if words:
            table[words[0]].append((words, value))
    return {first: tuple(sorted(found, key=lambda each: -len(each[0]))) for first, found in table.items()}


def _kinds(ontology: Ontology) -> dict[str, Kind]:
    """Return the coarse kind of each class: by the last word of its label that has one, else by its superclasses."""
    own = {
        each.iri: kind
        for each in ontology.classes
        if (kind := next((KIND_OF_WORD[word] for word in reversed(label_words(each.label)) if word in KIND_OF_WORD), None))
    }
    found = dict(own)
    for each in ontology.classes:
        if each.iri not in own:
            above = sorted(
                ontology.class_ancestors.get(each.iri, ()), key=lambda iri: -len(ontology.class_ancestors.get(iri, ()))
            )
            kind = next((own[iri] for iri in above if iri in own), None)
            if kind:
                found[each.iri] = kind
    return found


def _kinds_below(ontology: Ontology, kinds: dict[str, Kind]) -> dict[str, frozenset[Kind]]:
    """Return, by class, the kinds that it may be of: its own, or else those of the classes below it."""
    below: dict[str, set[Kind]] = defaultdict(set)
    for iri, kind in kinds.items():
        for above in ontology.class_ancestors.get(iri, ()):
            below[above].add(kind)
    asked = {iri for each in ontology.properties for iri in (*each.domains, *each.ranges)}
    return {iri: frozenset([kinds[iri]] if iri in kinds else below[iri]) for iri in sorted(asked)}


def _roots(ontology: Ontology, kinds: dict[str, Kind]) -> dict[str, tuple[str, ...]]:
    roots: dict[str, tuple[str, ...]] = {}
    for each in ontology.classes:
        kind = kinds.get(each.iri)
        if kind and not any(kinds.get(above) == kind for above in ontology.class_ancestors.get(each.iri, ())):
            roots[kind] = (*roots.get(kind, ()), each.iri)
    return roots


def _rule(each: OntologyProperty, kinds: dict[str, Kind]) -> Rule:
    datatypes = [iri for iri in each.ranges if iri not in kinds and iri.startswith(str(XSD))]
    if set(datatypes) == {str(XSD.string)} and any(iri in kinds for iri in each.ranges):
        # A text or a thing, such as schema.org's location: a name in a text is the thing.
        datatypes = []
    words = {word for label in (each.label, *each.alt_labels) for word in label_words(label)}
    # "founded by" asks for somebody, "founded" for a date.
    by_label: Wanted = (
        "date" if words & DATE_WORDS and not each.label.lower().endswith(" by") else "number" if words & NUMBER_WORDS else "text"
    )
    if datatypes:
        wants: Wanted = "date" if datatypes[0] in _DATE_TYPES else "number" if datatypes[0] in _NUMBER_TYPES else "text"
        return Rule(each, wants, True, datatypes[0])
    if each.kind == "datatype":
        return Rule(each, by_label, True, None)
    if each.ranges:
        range_kinds = {kinds.get(iri) for iri in each.ranges}
        if range_kinds == {"date"}:
            return Rule(each, "date", False, None)
        if range_kinds == {"number"}:
            return Rule(each, "number", False, None)
        return Rule(each, "entity", False, None)
    # Properties with literals are often declared as object properties without a range; the label shows it.
    return Rule(each, "entity" if by_label == "text" else by_label, by_label != "text", None)


def _voice(words: list[str], content: list[str], rule: Rule) -> Voice:
    if rule.wants in ("date", "number"):
        return "noun"
    if words[-1] == "by":
        return "agent"
    if len(words) > 1 and words[-1] in LABEL_NOISE:
        return "forward"
    return "agent" if _verbs(content[-1]) or content[-1] in ("author", "creator") else "noun"


def _cue(synonym: str) -> str:
    """Return what a synonym is looked up by: its stem, before a "+by" that has to follow it."""
    word, plus, by = synonym.partition("+")
    return f"{stem(word)}{plus}{by}"


def _verbs(word: str) -> list[str]:
    """Return the stem of the verb in a word for its doer: ``publisher``, ``director``."""
    if (
        len(word) > 5
        and word.endswith(("er", "or"))
        and word not in ("number", "river", "member", "character", "mother", "father", "brother")
    ):
        return sorted({stem(word[:-2]), stem(word[:-2] + "e"), stem(word[:-2] + "ed")})
    return []
