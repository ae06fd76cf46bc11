"""A document's entities, graph and result from names and relations (CONTRACT 9.4 and 9.6): what extractors have in common."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from compat.contracts import (
    Entity,
    Evidence,
    ExtractionResult,
    ExtractionStats,
    GraphStats,
    KnowledgeGraph,
    Mention,
    PipelineConfig,
    Relation,
)
from compat.ids import derived_id
from tasks.extraction.ontology import Ontology

_MIN_CONFIDENCE = 0.5


@dataclass(frozen=True, slots=True)
class Name:
    """A mention and the name it goes by in the whole document."""

    canonical: str
    mention: Mention


@dataclass(frozen=True, slots=True)
class Proposal:
    """A relation as a sentence states it. ``object`` is a name, or the literal's text if ``literal_type`` is set."""

    subject: str
    predicate_iri: str
    object: str
    literal_type: str | None
    confidence: float
    evidence: tuple[int, int]

    @property
    def key(self) -> str:
        """What two equal relations of a document have in common."""
        return f"{self.subject}|{self.predicate_iri}|{self.object}".lower()


def deduplicate(proposals: Iterable[Proposal]) -> list[Proposal]:
    """Return one relation per key (lower-case subject, predicate, object), in order of first appearance; the surest wins."""
    best: dict[str, Proposal] = {}
    for proposal in proposals:
        if proposal.key not in best or proposal.confidence > best[proposal.key].confidence:
            best[proposal.key] = proposal
    return list(best.values())


def build_entities(
    names: Iterable[Name], types_of: Callable[[str], tuple[tuple[str, ...], float]], config: PipelineConfig
) -> list[Entity]:
    """Return one entity per lower-case canonical name that has a class of the ontology, in order of first mention.

    Every mention of the name is kept. ``types_of`` returns a name's classes and the confidence of the first; names without one
    are left out. The first mention's name wins.
    """
    grouped: dict[str, list[Name]] = {}
    for name in names:
        grouped.setdefault(name.canonical.lower(), []).append(name)
    entities = []
    for key, group in grouped.items():
        canonical = group[0].canonical
        types, confidence = types_of(canonical)
        if not types or confidence < _MIN_CONFIDENCE:
            continue
        entities.append(
            Entity(
                id=derived_id("knowledge_entity", config.organization_id, config.document_id, key),
                mention=group[0].mention.text,
                canonical_name=canonical,
                types=types,
                confidence=round(min(1.0, confidence, max(name.mention.confidence for name in group) + 0.1), 4),
                mentions=tuple(name.mention for name in group),
            )
        )
    return entities


def result_of(graph: KnowledgeGraph, config: PipelineConfig, started: float, chunks: int, mentions: int) -> ExtractionResult:
    """Return the graph with its sizes, and how long it took since ``started`` on the performance counter."""
    stats = ExtractionStats(
        chunk_count=chunks,
        mention_count=mentions,
        entity_count=graph.stats.entity_count,
        relation_count=graph.stats.relation_count,
        duration_ms=round((time.perf_counter() - started) * 1000),
        clustering_enabled=config.enable_incremental_clustering,
    )
    return ExtractionResult(graph=graph, stats=stats, config=config)


def assemble(
    text: str, entities: Sequence[Entity], proposals: Iterable[Proposal], ontology: Ontology, config: PipelineConfig
) -> KnowledgeGraph:
    """Return the graph of a document whose text is ``text``.

    One entity per lower-case name, the first wins. A relation whose subject or object has no entity is counted and
    dropped; one whose predicate the ontology lacks, or that breaks its domain or range, is dropped.
    """
    index: dict[str, str] = {}
    kept: dict[str, Entity] = {}
    for entity in entities:
        if index.setdefault(entity.name.lower(), entity.id) == entity.id:
            kept[entity.id] = entity
    properties = {each.iri: each for each in ontology.properties}
    relations = []
    unresolved_subjects = unresolved_objects = 0
    for proposal in proposals:
        subject = kept.get(index.get(proposal.subject.lower(), ""))
        object_ = None if proposal.literal_type else kept.get(index.get(proposal.object.lower(), ""))
        unresolved_subjects += subject is None
        unresolved_objects += object_ is None and proposal.literal_type is None
        if subject is None or (object_ is None and proposal.literal_type is None):
            continue
        rule = properties.get(proposal.predicate_iri)
        if rule is None:
            continue
        if object_ is not None and not ontology.allows(rule, subject.types, object_.types):
            continue
        if proposal.literal_type is not None and not ontology.allows_literal(rule, subject.types, proposal.literal_type):
            continue
        start, end = proposal.evidence
        relations.append(
            Relation(
                id=derived_id("knowledge_relation", config.organization_id, config.document_id, proposal.key),
                subject_id=subject.id,
                predicate_iri=proposal.predicate_iri,
                object_id=object_.id if object_ else None,
                literal_value=None if object_ else proposal.object,
                literal_type=proposal.literal_type,
                confidence=proposal.confidence,
                evidence=Evidence(text=text[start:end], start_char=start, end_char=end),
            )
        )
    stats = GraphStats(
        entity_count=len(kept),
        relation_count=len(relations),
        unresolved_subjects=unresolved_subjects,
        unresolved_objects=unresolved_objects,
    )
    return KnowledgeGraph(entities=tuple(kept.values()), relations=tuple(relations), entity_index=index, stats=stats)
