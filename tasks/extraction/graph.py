"""A document's graph from its entities and relations (CONTRACT 9.6)."""

from collections.abc import Iterable, Sequence

from compat.contracts import Entity, Evidence, GraphStats, KnowledgeGraph, PipelineConfig, Relation
from compat.ids import derived_id
from tasks.extraction.ontology import Ontology
from tasks.extraction.rules.relations import Proposal


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
