"""How likely each span is a sentence's subject, and each pair of spans each relation."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.extraction.linear.features import columns, of_pair, of_sentence, of_span
from tasks.extraction.linear.model import Counts, Floats, LinearModel
from tasks.extraction.linear.spans import Names, Span, counted, find_spans
from tasks.extraction.sentences import Sentence

# Subjects of one sentence that are read on with, and the least probability of one.
_SUBJECTS, _LEAST = 3, 0.08
# The odds that a sentence names no subject at all.
_NONE = 0.1


@dataclass(frozen=True, slots=True)
class Scene:
    """A sentence's spans with the columns of its features, and of each span as a subject and as an object."""

    sentence: Sentence
    spans: Sequence[Span]
    common: list[int]
    as_subject: Sequence[list[int]]
    as_object: Sequence[list[int]]

    def pair(self, subject: int | None, object_: int) -> list[int]:
        """Return the columns of two spans, given by their numbers, beside each other."""
        first = None if subject is None else self.spans[subject]
        return columns(f"p:{each}" for each in of_pair(self.sentence, first, self.spans[object_]))


@dataclass(frozen=True, slots=True)
class Scored:
    """A pair of spans, by their numbers, with the probability of the subject and of each relation."""

    subject: int
    object: int
    probability: Floats


def read_scene(
    sentence: Sentence,
    names: Names,
    subjects: Counts,
    objects: Counts,
    topic: str | None,
    own: tuple[Counts, Counts] | None = None,
) -> Scene:
    """Return a sentence as the model sees it.

    ``subjects`` and ``objects`` count names in the training rows; ``own`` are the counts of the row that the sentence is of,
    which must not tell the model its answer while it learns.
    """
    own_subjects, own_objects = own or ({}, {})
    spans = find_spans(sentence, names, topic)
    if own:
        # Found by nothing but this row's own answer: a sentence that isn't a training row would not have it.
        spans = [
            each for each in spans if each.origin != "known" or _is_known(each, subjects, objects, own_subjects, own_objects)
        ]
    common = columns(f"b:{each}" for each in of_sentence(sentence))
    as_subject, as_object = [], []
    for place, span in enumerate(spans):
        known: Mapping[str, Mapping[int, int]] = {
            "s": counted(subjects, span.words, own_subjects),
            "o": counted(objects, span.words, own_objects),
        }
        found = of_span(sentence, span, place, known)
        as_subject.append(columns(f"s:{each}" for each in found))
        as_object.append(columns(f"o:{each}" for each in found))
    return Scene(sentence, spans, common, as_subject, as_object)


def _is_known(span: Span, subjects: Counts, objects: Counts, own_subjects: Counts, own_objects: Counts) -> bool:
    return bool(counted(subjects, span.words, own_subjects) or counted(objects, span.words, own_objects))


def subject_probabilities(scene: Scene, model: LinearModel) -> Floats:
    """Return of each span how likely a relation of the sentence begins at it."""
    if not scene.spans:
        return np.zeros(0, np.float32)
    own = model.weights[:, 0]
    common = own[scene.common].sum() + model.bias[0]
    odds = np.exp(np.array([own[each].sum() + common for each in scene.as_subject], np.float32))
    # Spans compete: most sentences have one subject, and some have none.
    return np.asarray(odds / (odds.sum() + _NONE), np.float32)


def score(scene: Scene, model: LinearModel, chosen: Floats | None = None) -> Iterator[Scored]:
    """Yield the pairs of likely subjects and all objects, with the probability of each relation."""
    likely = subject_probabilities(scene, model) if chosen is None else chosen
    subjects: list[int] = []
    for place in sorted(range(len(likely)), key=lambda place: (-likely[place], place)):
        free = not any(scene.spans[place].overlaps(scene.spans[each]) for each in subjects)
        if len(subjects) < _SUBJECTS and likely[place] >= _LEAST and free:
            subjects.append(place)
    if not subjects:
        return
    common = model.weights[scene.common].sum(axis=0) + model.bias
    objects = _sums(scene.as_object, model.weights)
    for subject in subjects:
        base = common + model.weights[scene.as_subject[subject]].sum(axis=0)
        others = [each for each in range(len(scene.spans)) if not scene.spans[each].overlaps(scene.spans[subject])]
        if others:
            pairs = _sums([scene.pair(subject, each) for each in others], model.weights)
            logits = (base + objects[others] + pairs)[:, 1:]
            probabilities = _sigmoid(logits) * likely[subject]
            yield from (Scored(subject, other, row) for other, row in zip(others, probabilities, strict=True))


def _sums(groups: Sequence[list[int]], weights: Floats) -> Floats:
    """Return the sum of the weights of each group of columns."""
    starts = np.cumsum([0, *map(len, groups)][:-1])
    chosen = weights[np.concatenate([np.asarray(each, np.int64) for each in groups])]
    return np.asarray(np.add.reduceat(chosen, starts, axis=0), np.float32)


def _sigmoid(values: Floats) -> Floats:
    return (1 / (1 + np.exp(-values))).astype(np.float32)
