"""From a sentence to the relations that are likely enough: each span scored as subject, each pair for each relation."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.extraction.linear.features import columns, of_pair, of_sentence, of_span
from tasks.extraction.linear.model import Counts, LinearModel
from tasks.extraction.linear.spans import Span, find_spans
from tasks.extraction.ontology import OntologyProperty
from tasks.extraction.sentences import Sentence
from tasks.extraction.values import object_as

# Subjects of one sentence that are read on with, the least probability of one, and the odds that a sentence names none.
_SUBJECTS, _LEAST, _NONE = 3, 0.08, 0.1


@dataclass(frozen=True, slots=True)
class Scene:
    """A sentence's spans with the columns of its features, and of each span as a subject and as an object."""

    sentence: Sentence
    spans: Sequence[Span]
    common: list[int]
    as_subject: Sequence[list[int]]
    as_object: Sequence[list[int]]

    def pair(self, subject: int | None, object_: int) -> list[int]:
        """Return the columns of the sentence with two spans, given by their numbers; without a subject, of the object alone."""
        first = None if subject is None else self.spans[subject]
        beside = columns(f"p:{each}" for each in of_pair(self.sentence, first, self.spans[object_]))
        return self.common + ([] if subject is None else self.as_subject[subject]) + self.as_object[object_] + beside


@dataclass(frozen=True, slots=True)
class Found:
    """A relation between two spans. ``literal`` is the object's text and datatype where it is no entity."""

    property: OntologyProperty
    subject: Span
    object: Span
    probability: float
    literal: tuple[str, str] | None


def read_scene(sentence: Sentence, model: LinearModel, own: Counts | None = None) -> Scene:
    """Return a sentence as the model sees it.

    In training, ``own`` is what the sentence's row adds to the model's counts, which must not tell it the answer.
    """
    spans: list[Span] = []
    as_subject, as_object = [], []
    for span in find_spans(sentence, model.names):
        keys = (f"s {span.words}", f"o {span.words}")
        subject, object_ = (Counter(model.counts.get(key, {})) - Counter((own or {}).get(key, {})) for key in keys)
        # Found by nothing but this row's own answer: a sentence that isn't a training row would not have it.
        if own is None or span.origin != "known" or subject or object_:
            found = of_span(sentence, span, len(spans), {"s": subject, "o": object_})
            spans.append(span)
            as_subject.append(columns(f"s:{each}" for each in found))
            as_object.append(columns(f"o:{each}" for each in found))
    return Scene(sentence, spans, columns(f"b:{each}" for each in of_sentence(sentence)), as_subject, as_object)


def find_subjects(scene: Scene, model: LinearModel) -> dict[int, float]:
    """Return the likeliest subjects of a sentence, by their numbers, with their probabilities; no two overlap."""
    own = model.weights[:, 0]
    logits = [own[each].sum() + own[scene.common].sum() + model.bias[0] for each in scene.as_subject]
    # Spans compete: most sentences have one subject, and some have none.
    odds = np.exp(np.array(logits, np.float32))
    likely = odds / (odds.sum() + _NONE)
    found: dict[int, float] = {}
    for place in sorted(range(len(likely)), key=lambda place: (-likely[place], place)):
        free = not any(scene.spans[place].overlaps(scene.spans[each]) for each in found)
        if len(found) < _SUBJECTS and likely[place] >= _LEAST and free:
            found[place] = float(likely[place])
    return found


def find_relations(scene: Scene, model: LinearModel, properties: Sequence[OntologyProperty]) -> list[Found]:
    """Return the relations of a sentence that are likely enough, the likeliest first; of objects that overlap, one each.

    ``properties`` are the model's relations.
    """
    candidates = []
    for subject, likely in find_subjects(scene, model).items():
        for object_, span in enumerate(scene.spans):
            if not span.overlaps(scene.spans[subject]):
                logits = model.weights[scene.pair(subject, object_)].sum(axis=0) + model.bias
                all_ = likely / (1 + np.exp(-logits[1:]))
                candidates += [
                    (-float(all_[each]), int(each), subject, object_) for each in np.flatnonzero(all_ >= model.threshold)
                ]
    found: list[Found] = []
    for negative, relation, subject, object_ in sorted(candidates):
        property, one, span = properties[relation], scene.spans[subject], scene.spans[object_]
        taken = any(each.property is property and each.object.overlaps(span) for each in found)
        literal, fits = object_as(property, span.name, span.value)
        if not taken and fits and one.name.lower() != span.name.lower():
            found.append(Found(property, one, span, -negative, literal))
    return found
