"""The extractor that runs a trained model."""

import os
import time
from collections.abc import Sequence

from compat.contracts import Entity, ExtractionResult, ExtractionStats, Mention, PipelineConfig
from compat.errors import InvalidInputError, Problem
from compat.ids import content_hash, derived_id
from compat.settings import Settings
from tasks.extraction.chunking import Chunk, split
from tasks.extraction.graph import assemble
from tasks.extraction.linear.decoding import Found, Types, admitted, confidence_of, keep
from tasks.extraction.linear.model import LinearModel
from tasks.extraction.linear.scoring import read_scene, score, subject_probabilities
from tasks.extraction.linear.spans import Span
from tasks.extraction.ontology import Ontology, parse_ontology
from tasks.extraction.rules.relations import Proposal, deduplicate
from tasks.extraction.sentences import Sentence, read_sentences


class LinearExtractor:
    """Finds what a model was trained to find, offline and deterministic. Any number of threads may share one."""

    def __init__(self, model: LinearModel) -> None:
        self.model = model

    @classmethod
    def from_settings(cls, settings: Settings | None = None) -> "LinearExtractor":
        """Return the extractor of KNOWLEDGE_LINEAR_MODEL. Raises InvalidInputError where it names no model."""
        file = (settings or Settings.load()).linear_model
        if file is None or not os.path.isfile(file):
            advice = "the linear extractor needs a model; make one with knowledge-batch train and give its file (--model FILE)"
            raise InvalidInputError([Problem("KNOWLEDGE_LINEAR_MODEL", str(file or ""), advice)])
        return cls(LinearModel.read(file))

    def run(self, text: str, ontology_content: str, config: PipelineConfig) -> ExtractionResult:
        """Return the graph of one document. Raises OntologyParseError, or InvalidInputError for another ontology."""
        started = time.perf_counter()
        ontology = parse_ontology(ontology_content)
        hash_ = content_hash(ontology_content)
        if hash_ != self.model.ontology:
            advice = f"was trained for ontology {self.model.ontology[:12]}, this one is {hash_[:12]}; train a model for it"
            raise InvalidInputError([Problem("KNOWLEDGE_LINEAR_MODEL", "the model", advice)])
        chunks = split(text)
        types = Types(self.model, ontology)
        found = list(admitted(self._read(sentences_of(chunks), ontology), types))
        entities = _entities(text, found, types, self.model, config)
        graph = assemble(text, entities, deduplicate(map(self._proposal, found)), ontology, config)
        stats = ExtractionStats(
            chunk_count=len(chunks),
            mention_count=sum(len(each.mentions) for each in entities),
            entity_count=graph.stats.entity_count,
            relation_count=graph.stats.relation_count,
            duration_ms=round((time.perf_counter() - started) * 1000),
            clustering_enabled=config.enable_incremental_clustering,
        )
        return ExtractionResult(graph=graph, stats=stats, config=config)

    def _read(self, sentences: Sequence[Sentence], ontology: Ontology) -> list[Found]:
        model = self.model
        by_iri = {each.iri: each for each in ontology.properties}
        properties = [by_iri[iri] for iri in model.relations]
        topic: str | None = None
        found = []
        for sentence in sentences:
            scene = read_scene(sentence, model.names, model.subjects, model.objects, topic)
            likely = subject_probabilities(scene, model)
            found += keep(scene, score(scene, model, likely), model, properties)
            if model.coreference and topic is None and len(likely):
                best = max(range(len(likely)), key=lambda place: (likely[place], -place))
                topic = scene.spans[best].name
        return found

    def _proposal(self, found: Found) -> Proposal:
        text, literal_type = found.literal or (found.object.name, None)
        place = min(found.subject.start, found.object.start), max(found.subject.end, found.object.end)
        return Proposal(found.subject.name, found.property.iri, text, literal_type, confidence_of(found, self.model), place)


def sentences_of(chunks: Sequence[Chunk]) -> list[Sentence]:
    """Return the sentences of a document in order, each once though chunks overlap."""
    found = {sentence.start: sentence for chunk in reversed(chunks) for sentence in reversed(read_sentences(chunk))}
    return [found[start] for start in sorted(found)]


def _entities(text: str, found: Sequence[Found], types: Types, model: LinearModel, config: PipelineConfig) -> list[Entity]:
    """Return an entity for each name at an end of a relation, in order of appearance."""
    spans: dict[str, dict[int, Span]] = {}
    certain: dict[str, float] = {}
    for relation in found:
        for span in (relation.subject, *(() if relation.literal else (relation.object,))):
            key = span.name.lower()
            spans.setdefault(key, {})[span.start] = span
            certain[key] = max(certain.get(key, 0.0), confidence_of(relation, model))
    entities = []
    for key in sorted(spans, key=lambda key: min(spans[key])):
        if not types.of.get(key):
            continue
        mentions = tuple(
            Mention(text=text[span.start : span.end], start_char=span.start, end_char=span.end, confidence=certain[key])
            for _, span in sorted(spans[key].items())
        )
        named = next(iter(spans[key].values()))
        entities.append(
            Entity(
                id=derived_id("knowledge_entity", config.organization_id, config.document_id, key),
                mention=mentions[0].text,
                canonical_name=named.name,
                types=tuple(types.of[key]),
                confidence=certain[key],
                mentions=mentions,
            )
        )
    return entities
