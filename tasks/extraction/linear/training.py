"""Training a model on rows of texts with the triples that people found in them. Needs scikit-learn; running a model doesn't."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from compat.ids import content_hash
from tasks.extraction.chunking import split
from tasks.extraction.evaluation import comparable, normal
from tasks.extraction.linear.decoding import keep
from tasks.extraction.linear.extractor import sentences_of
from tasks.extraction.linear.features import BITS
from tasks.extraction.linear.model import Counts, LinearModel
from tasks.extraction.linear.scoring import Scene, read_scene, score
from tasks.extraction.linear.spans import Names, looked_up
from tasks.extraction.ontology import Ontology, OntologyProperty, parse_ontology
from tasks.extraction.values import date_of

FOLDS = 3
# The strength of the fit, and which share of the pairs in rows without a relation it is shown.
_C, _OTHERS = 1.0, 3
Gold = frozenset[tuple[str, int, str]]


@dataclass(frozen=True)
class Row:
    """A text with its triples: subject and object as they are compared, the relation by its number."""

    scenes: Sequence[Scene]
    gold: Gold


@dataclass(frozen=True)
class _Examples:
    """Feature columns of examples, one list each, with what each is: its row and the relations that hold."""

    columns: list[list[int]]
    rows: list[int]
    labels: list[frozenset[int]]


def train(ontology_content: str, rows: Sequence[Mapping[str, Any]], coreference: bool = False) -> LinearModel:
    """Return a model of the ontology, trained on rows ``{text, triples: [{sub, rel, obj}]}``.

    Thresholds and confidence come from rows that the model they are measured on has not seen. The same rows give the same model.
    """
    ontology = parse_ontology(ontology_content)
    by_label = {normal(each.label): each.iri for each in ontology.properties}
    counts = Counter(by_label.get(normal(triple["rel"])) for row in rows for triple in row["triples"])
    relations = tuple(sorted(iri for iri in counts if iri))
    number = {label: relations.index(iri) for label, iri in by_label.items() if iri in counts}
    subjects, objects = _counts(rows, number)
    read = read_rows(rows, number, subjects, objects, coreference)
    blank = LinearModel(
        ontology=content_hash(ontology_content),
        relations=relations,
        weights=np.zeros((0, 0), np.float32),
        bias=np.zeros(0, np.float32),
        labelled=1.0,
        threshold=0.0,
        subjects=subjects,
        objects=objects,
        classes=_classes(rows, ontology, by_label),
        together=_together(rows, ontology, by_label),
        coreference=coreference,
        trained_on={"rows": len(rows), "triples": sum(counts.values()), "numpy": np.__version__},
    )
    by_iri = {each.iri: each for each in ontology.properties}
    unseen: list[Unseen] = []
    for fold in range(FOLDS):
        part = _fit(blank, [row for place, row in enumerate(read) if place % FOLDS != fold])
        part = replace(part, threshold=0.02)
        unseen += [_found(row, part, [by_iri[iri] for iri in relations]) for row in read[fold::FOLDS]]
    threshold, labelled = calibrate(unseen)
    return replace(_fit(blank, read), threshold=threshold, labelled=labelled)


def read_rows(
    rows: Iterable[Mapping[str, Any]], number: Mapping[str, int], subjects: Counts, objects: Counts, coreference: bool
) -> list[Row]:
    """Return the rows as the model sees them."""
    names = Names({*subjects, *objects})
    read = []
    for row in rows:
        own = _counts([row], number)
        known = {normal(each["sub"]) for each in row["triples"]}
        scenes: list[Scene] = []
        topic: str | None = None
        for sentence in sentences_of(split(row["text"])):
            scene = read_scene(sentence, names, subjects, objects, topic, own)
            if coreference and topic is None:
                topic = next((span.name for span in scene.spans if normal(span.name) in known), None)
            scenes.append(scene)
        triples = ((normal(each["sub"]), number.get(normal(each["rel"])), comparable(each["obj"])) for each in row["triples"])
        read.append(Row(scenes, frozenset((sub, rel, obj) for sub, rel, obj in triples if rel is not None)))
    return read


@dataclass(frozen=True)
class Unseen:
    """What a model finds in a row that it hasn't seen: of each fact the probability, the relation, and whether the row has it."""

    facts: Sequence[tuple[float, int, bool]]
    asked: frozenset[int]
    expected: int


def _found(row: Row, model: LinearModel, properties: Sequence[OntologyProperty]) -> Unseen:
    best: dict[tuple[str, int, str], float] = {}
    for scene in row.scenes:
        for each in keep(scene, score(scene, model), model, properties):
            key = normal(each.subject.name), model.relations.index(each.property.iri), each.object.key
            best[key] = max(best.get(key, 0.0), each.probability)
    facts = [(probability, key[1], key in row.gold) for key, probability in best.items()]
    return Unseen(facts, frozenset(relation for _, relation, _ in row.gold), len(row.gold))


def calibrate(rows: Sequence[Unseen]) -> tuple[float, float]:
    """Return the least probability of a fact that is kept, and the share of true facts that rows label.

    The threshold is best for the mean of the strict and the official F1. The share is the mean probability of facts that are
    labelled: what rows leave out although the text says it pulls it below 1 (Elkan and Noto, 2008).
    """
    total = sum(row.expected for row in rows)
    right = [probability for row in rows for probability, _, is_right in row.facts if is_right]
    labelled = float(np.mean(right)) if right else 1.0

    def quality(threshold: float) -> float:
        hits = found = 0
        official = 0.0
        for row in rows:
            kept = [fact for fact in row.facts if fact[0] >= threshold]
            own = sum(fact[2] for fact in kept)
            considered = sum(fact[1] in row.asked for fact in kept)
            hits, found = hits + own, found + len(kept)
            official += 2 * own / (considered + row.expected) if row.expected else 0.0
        return 2 * hits / max(1, found + total) + official / max(1, len(rows))

    threshold = max((round(step / 100, 2) for step in range(3, 71)), key=lambda each: (quality(each), each))
    return threshold, round(labelled, 6)


def _fit(model: LinearModel, rows: Sequence[Row]) -> LinearModel:
    """Return the model with weights fitted on rows: one regression for subjects, one for each relation."""
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression

    weights = np.zeros((1 << BITS, 1 + len(model.relations)), np.float32)
    bias = np.full(1 + len(model.relations), -9.0, np.float32)

    def fit(column: int, examples: Sequence[list[int]], labels: Sequence[bool], weight: Sequence[float]) -> None:
        if len(set(labels)) < 2:
            return
        ends = np.cumsum([0, *map(len, examples)])
        indices = np.concatenate([np.asarray(each, np.int32) for each in examples])
        used, indices = np.unique(indices, return_inverse=True)
        matrix = csr_matrix((np.ones(len(indices), np.float64), indices, ends), shape=(len(examples), len(used)))
        regression = LogisticRegression(C=_C, solver="liblinear", tol=0.01, max_iter=60, random_state=0)
        regression.fit(matrix, np.asarray(labels), np.asarray(weight))
        weights[used, column] = regression.coef_[0]
        bias[column] = regression.intercept_[0]

    subjects = _subject_examples(rows)
    fit(0, subjects.columns, [bool(each) for each in subjects.labels], [1.0] * len(subjects.labels))
    pairs = _pair_examples(rows)
    said = [frozenset(relation for _, relation, _ in row.gold) for row in rows]
    for relation in range(len(model.relations)):
        chosen = [place for place, row in enumerate(pairs.rows) if relation in said[row] or (row + relation) % _OTHERS == 0]
        weight = [1.0 if relation in said[pairs.rows[place]] else float(_OTHERS) for place in chosen]
        fit(1 + relation, [pairs.columns[each] for each in chosen], [relation in pairs.labels[each] for each in chosen], weight)
    return replace(model, weights=weights, bias=bias)


def _subject_examples(rows: Sequence[Row]) -> _Examples:
    found = _Examples([], [], [])
    for place, row in enumerate(rows):
        subjects = {sub for sub, _, _ in row.gold}
        for scene in row.scenes:
            for span, own in zip(scene.spans, scene.as_subject, strict=True):
                found.columns.append(_merged(scene.common, own))
                found.rows.append(place)
                found.labels.append(frozenset({0} if normal(span.name) in subjects else ()))
    return found


def _pair_examples(rows: Sequence[Row]) -> _Examples:
    """Return each labelled subject beside every span; of a row whose subject its text doesn't name, every span alone."""
    found = _Examples([], [], [])
    for place, row in enumerate(rows):
        subjects = {sub for sub, _, _ in row.gold}
        for scene in row.scenes:
            there = [each for each in range(len(scene.spans)) if normal(scene.spans[each].name) in subjects]
            wanted: list[int | None] = [*there] or [None]
            for subject in wanted:
                name = None if subject is None else normal(scene.spans[subject].name)
                own = [] if subject is None else scene.as_subject[subject]
                for each, span in enumerate(scene.spans):
                    if subject is not None and span.overlaps(scene.spans[subject]):
                        continue
                    holds = (rel for sub, rel, obj in row.gold if obj == span.key and name in (None, sub))
                    found.columns.append(_merged(scene.common, own, scene.as_object[each], scene.pair(subject, each)))
                    found.rows.append(place)
                    found.labels.append(frozenset(holds))
    return found


def _merged(*groups: list[int]) -> list[int]:
    return [each for group in groups for each in group]


def _counts(rows: Iterable[Mapping[str, Any]], number: Mapping[str, int]) -> tuple[Counts, Counts]:
    """Return how often each name is the subject, and the object, of each relation; dates and numbers are no names."""
    subjects: Counts = {}
    objects: Counts = {}
    for row in rows:
        for each in row["triples"]:
            relation = number.get(normal(each["rel"]))
            for counts, name in ((subjects, each["sub"]), (objects, each["obj"])):
                words = looked_up(name)
                if relation is not None and words and date_of(name) is None and not words.isdigit():
                    own = counts.setdefault(words, {})
                    own[relation] = own.get(relation, 0) + 1
    return subjects, objects


def _classes_of_names(
    rows: Iterable[Mapping[str, Any]], ontology: Ontology, by_label: Mapping[str, str]
) -> dict[str, Counter[str]]:
    properties = {each.iri: each for each in ontology.properties}
    found: dict[str, Counter[str]] = {}
    for row in rows:
        for each in row["triples"]:
            property = properties.get(by_label.get(normal(each["rel"]), ""))
            if property is not None:
                found.setdefault(normal(each["sub"]), Counter()).update(property.domains)
                classes = [iri for iri in property.ranges if any(iri == known.iri for known in ontology.classes)]
                found.setdefault(normal(each["obj"]), Counter()).update(classes)
    return found


def _classes(rows: Sequence[Mapping[str, Any]], ontology: Ontology, by_label: Mapping[str, str]) -> dict[str, str]:
    """Return a class for the subjects of each property without a domain: what these subjects are elsewhere in the rows."""
    names = _classes_of_names(rows, ontology, by_label)
    overall: Counter[str] = Counter()
    for row in rows:
        for each in row["triples"]:
            overall.update(names.get(normal(each["sub"]), ()))
    found = {}
    for property in ontology.properties:
        if not property.domains:
            votes: Counter[str] = Counter()
            for row in rows:
                for each in row["triples"]:
                    if by_label.get(normal(each["rel"])) == property.iri:
                        votes.update(names.get(normal(each["sub"]), ()))
            ranked = sorted((votes or overall).items(), key=lambda item: (-item[1], item[0]))
            if ranked:
                found[property.iri] = ranked[0][0]
    return found


def _together(rows: Sequence[Mapping[str, Any]], ontology: Ontology, by_label: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    """Return the pairs of classes that at least two names of the rows have both."""
    pairs: Counter[tuple[str, str]] = Counter()
    for classes in _classes_of_names(rows, ontology, by_label).values():
        pairs.update((one, other) for one, other in combinations(sorted(classes), 2))
    return frozenset(pair for pair, count in pairs.items() if count > 1)
