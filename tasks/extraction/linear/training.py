"""Training a model on rows of texts with the triples that people found in them. Needs scikit-learn; running a model doesn't."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compat.ids import content_hash
from tasks.extraction.chunking import split
from tasks.extraction.evaluation import comparable, normal
from tasks.extraction.linear.decoding import Scene, find_relations, read_scene
from tasks.extraction.linear.features import BITS
from tasks.extraction.linear.model import Counts, LinearModel
from tasks.extraction.linear.spans import looked_up
from tasks.extraction.ontology import OntologyProperty, parse_ontology
from tasks.extraction.sentences import each_once, read_sentences
from tasks.extraction.values import date_of

FOLDS = 3
# The strength of the fit, and one of how many pairs is shown to a relation that their row doesn't have.
_C, _OTHERS = 1.0, 3
# Subject and object as they are compared, the relation by its number.
Triple = tuple[str, int, str]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """A text as the model sees it, with its triples."""

    scenes: Sequence[Scene]
    gold: frozenset[Triple]


def train(ontology_content: str, rows: Sequence[Mapping[str, Any]]) -> LinearModel:
    """Return a model of the ontology, trained on rows ``{text, triples: [{sub, rel, obj}]}``.

    Threshold and confidence come from rows that the model they are measured on has not seen. The same rows give the same model.
    """
    by_label = {normal(each.label): each for each in parse_ontology(ontology_content).properties}
    said = [[(each["sub"], by_label.get(normal(each["rel"])), each["obj"]) for each in row["triples"]] for row in rows]
    properties = sorted({each for triples in said for _, each, _ in triples if each}, key=lambda each: each.iri)
    number = {each: place for place, each in enumerate(properties)}
    triples = [[(sub, number[each], obj) for sub, each, obj in triples if each] for triples in said]
    domains = Counter(iri for row in triples for _, relation, _ in row for iri in properties[relation].domains)
    blank = LinearModel(
        ontology=content_hash(ontology_content),
        relations=tuple(each.iri for each in properties),
        weights=np.zeros((1 << BITS, 1 + len(properties)), np.float32),
        bias=np.full(1 + len(properties), -9.0, np.float32),
        labelled=1.0,
        threshold=0.02,
        counts=_counts(triples),
        default_classes=tuple(sorted(domains, key=lambda iri: (-domains[iri], iri))[:1]),
        trained_on={"rows": len(rows), "triples": sum(map(len, triples)), "numpy": np.__version__},
    )
    read = [_read(row["text"], own, blank) for row, own in zip(rows, triples, strict=True)]
    facts = []
    for fold in range(FOLDS):
        part = _fit(blank, [row for place, row in enumerate(read) if place % FOLDS != fold])
        facts += [fact for place in range(fold, len(read), FOLDS) for fact in _find(place, read[place], part, properties)]
    threshold, labelled = calibrate(np.array(facts).reshape(-1, 4), read)
    return replace(_fit(blank, read), threshold=threshold, labelled=labelled)


def _counts(rows: Iterable[Iterable[Triple]]) -> Counts:
    """Return how often each name is the subject, and the object, of each relation; dates and numbers are no names."""
    counts: Counts = defaultdict(Counter)
    for sub, relation, obj in (triple for row in rows for triple in row):
        for role, name in (("s", sub), ("o", obj)):
            if (words := looked_up(name)) and date_of(name) is None and not words.isdigit():
                counts[f"{role} {words}"][str(relation)] += 1
    return counts


def _read(text: str, triples: Sequence[Triple], model: LinearModel) -> Row:
    own, gold = _counts([triples]), frozenset((normal(sub), relation, comparable(obj)) for sub, relation, obj in triples)
    sentences = each_once(read_sentences(chunk) for chunk in split(text))
    return Row([read_scene(sentence, model, own) for sentence in sentences], gold)


def _find(
    place: int, row: Row, model: LinearModel, properties: Sequence[OntologyProperty]
) -> Iterator[tuple[int, float, bool, bool]]:
    """Yield of each fact found in a row: its place, the probability, whether the row has its relation, and the fact."""
    best: dict[Triple, float] = {}
    for scene in row.scenes:
        for each in find_relations(scene, model, properties):
            key = normal(each.subject.name), model.relations.index(each.property.iri), each.object.key
            best[key] = max(best.get(key, 0.0), each.probability)
    asked = {relation for _, relation, _ in row.gold}
    yield from ((place, probability, key[1] in asked, key in row.gold) for key, probability in best.items())


def calibrate(facts: Array, rows: Sequence[Row]) -> tuple[float, float]:
    """Return the least probability of a fact that is kept, and the share of true facts that rows label.

    The threshold is best for the strict F1 and, thrice as much, the official one. The share is the mean probability of labelled
    facts: what rows leave out although the text says it pulls it below 1 (Elkan and Noto, 2008).
    """
    places, probability, asked, right = facts[:, 0].astype(int), facts[:, 1], facts[:, 2] > 0, facts[:, 3] > 0
    expected = np.array([len(row.gold) for row in rows])

    def quality(threshold: float) -> float:
        kept = probability >= threshold
        hits, considered = (np.bincount(places[kept & each], minlength=len(rows)) for each in (right, asked))
        official = 2 * hits / np.maximum(1, considered + expected)
        return float(2 * hits.sum() / max(1, kept.sum() + expected.sum()) + 3 * official.mean())

    threshold = max((step / 100 for step in range(3, 71)), key=lambda each: (quality(each), each))
    return threshold, round(float(probability[right].mean()), 6) if right.any() else 1.0


def _fit(blank: LinearModel, rows: Sequence[Row]) -> LinearModel:
    """Return the model with weights fitted on rows: one regression for subjects, one for each relation."""
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression

    weights, bias = blank.weights.copy(), blank.bias.copy()

    def fit(column: int, examples: Sequence[list[int]], labels: Sequence[bool], weight: Sequence[float]) -> None:
        if len(set(labels)) < 2:
            return
        ends = np.cumsum([0, *map(len, examples)])
        used, indices = np.unique(np.concatenate([np.asarray(each, np.int32) for each in examples]), return_inverse=True)
        matrix = csr_matrix((np.ones(len(indices), np.float64), indices, ends), shape=(len(examples), len(used)))
        regression = LogisticRegression(C=_C, solver="liblinear", tol=0.01, max_iter=60, random_state=0)
        regression.fit(matrix, np.asarray(labels), np.asarray(weight))
        weights[used, column], bias[column] = regression.coef_[0], regression.intercept_[0]

    subjects = [
        (scene.common + own, any(normal(span.name) == sub for sub, _, _ in row.gold))
        for row in rows for scene in row.scenes for span, own in zip(scene.spans, scene.as_subject, strict=True)
    ]  # fmt: skip
    fit(0, [each for each, _ in subjects], [is_one for _, is_one in subjects], [1.0] * len(subjects))
    pairs = [(place, *pair) for place, row in enumerate(rows) for pair in _pairs(row)]
    said = [frozenset(relation for _, relation, _ in row.gold) for row in rows]
    for relation in range(len(blank.relations)):
        chosen = [each for each in pairs if relation in said[each[0]] or (each[0] + relation) % _OTHERS == 0]
        weight = [1.0 if relation in said[place] else float(_OTHERS) for place, _, _ in chosen]
        fit(1 + relation, [each for _, each, _ in chosen], [relation in holds for _, _, holds in chosen], weight)
    return replace(blank, weights=weights, bias=bias)


def _pairs(row: Row) -> Iterator[tuple[list[int], frozenset[int]]]:
    """Yield each labelled subject beside every span; of a sentence that names no subject, every span alone."""
    subjects = {sub for sub, _, _ in row.gold}
    for scene in row.scenes:
        wanted: list[int | None] = [each for each, span in enumerate(scene.spans) if normal(span.name) in subjects]
        for subject in wanted or [None]:
            name = None if subject is None else normal(scene.spans[subject].name)
            for each, span in enumerate(scene.spans):
                if subject is None or not span.overlaps(scene.spans[subject]):
                    holds = frozenset(rel for sub, rel, obj in row.gold if obj == span.key and name in (None, sub))
                    yield scene.pair(subject, each), holds
