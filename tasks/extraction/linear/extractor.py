"""The extractor that runs a trained model."""

import time

from compat.contracts import ExtractionResult, Mention, PipelineConfig
from compat.errors import InvalidInputError, Problem
from compat.ids import content_hash
from compat.settings import Settings
from tasks.extraction.chunking import split
from tasks.extraction.graph import Name, Proposal, assemble, build_entities, deduplicate, result_of
from tasks.extraction.linear.decoding import find_relations, read_scene
from tasks.extraction.linear.model import LinearModel
from tasks.extraction.ontology import parse_ontology
from tasks.extraction.sentences import each_once, read_sentences


class LinearExtractor:
    """Finds what a model was trained to find, offline and deterministic. Any number of threads may share one."""

    def __init__(self, model: LinearModel) -> None:
        self.model = model

    @classmethod
    def from_settings(cls, settings: Settings | None = None) -> "LinearExtractor":
        """Return the extractor of KNOWLEDGE_LINEAR_MODEL. Raises InvalidInputError where it names no model."""
        file = (settings or Settings.load()).linear_model
        if file is None or not file.is_file():
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
        by_iri = {each.iri: each for each in ontology.properties}
        properties = [by_iri[iri] for iri in self.model.relations]
        chunks = split(text)
        scenes = (read_scene(sentence, self.model) for sentence in each_once(read_sentences(chunk) for chunk in chunks))
        found = [each for scene in scenes for each in find_relations(scene, self.model, properties)]
        names: dict[int, Name] = {}
        types: dict[str, tuple[tuple[str, ...], float]] = {}
        proposals = []
        for each in sorted(found, key=lambda each: -each.probability):
            # A probability, corrected for rows that label only a part of their facts.
            confidence = round(min(1.0, max(0.5, each.probability / self.model.labelled)), 4)
            ends = [(each.subject, each.property.domains or self.model.default_classes), (each.object, each.property.ranges)]
            for span, wanted in ends[: 1 if each.literal else 2]:
                place = {"start_char": span.start, "end_char": span.end, "confidence": confidence}
                names.setdefault(span.start, Name(span.name, Mention(text=text[span.start : span.end], **place)))
                # What domain and range ask for; of several classes the first.
                known, surest = types.get(span.name.lower(), ((), confidence))
                types[span.name.lower()] = (*known, *(() if ontology.is_any(known, wanted) else wanted[:1])), surest
            object_, datatype = each.literal or (each.object.name, None)
            evidence = min(each.subject.start, each.object.start), max(each.subject.end, each.object.end)
            proposals.append(Proposal(each.subject.name, each.property.iri, object_, datatype, confidence, evidence))
        entities = build_entities([names[start] for start in sorted(names)], lambda name: types[name.lower()], config)
        graph = assemble(text, entities, deduplicate(proposals), ontology, config)
        return result_of(graph, config, started, len(chunks), sum(len(each.mentions) for each in entities))
