"""One document's extraction (CONTRACT 3 and 9), and what makes it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from pydantic import Field

from compat.contracts.payload import Confidence, Payload


class PipelineConfig(Payload):
    """What an extractor gets besides the text and the ontology."""

    document_id: str
    organization_id: str
    ontology_id: str
    merge_entities: bool = True
    enable_incremental_clustering: bool = False


class Mention(Payload):
    """A place in a document that names something. ``text == document[start_char:end_char]``."""

    text: str
    start_char: int = Field(0, ge=0)
    end_char: int = Field(0, ge=0)
    confidence: Confidence = 1.0
    suggested_type: str | None = None
    context: str | None = None
    chunk_index: int = 0


class Evidence(Payload):
    """Where in the document a relation is stated."""

    text: str
    start_char: int = Field(0, ge=0)
    end_char: int = Field(0, ge=0)


class Entity(Payload):
    """A node of the graph. ``types`` are class IRIs of the ontology, the main one first."""

    id: str
    mention: str
    canonical_name: str | None = None
    types: tuple[str, ...] = ()
    attributes: dict[str, str | int | float | bool] = Field(default_factory=dict)
    confidence: Confidence = 1.0
    mentions: tuple[Mention, ...] = ()

    @property
    def name(self) -> str:
        """The canonical name if there is one, else the mention."""
        return self.canonical_name or self.mention


class CanonicalEntity(Payload):
    """The one thing that several entities, of one or more documents, stand for (CONTRACT 9.8).

    ``types`` are those of all of them, the commonest main one first; ``attributes`` has every value that any of them
    has. ``entity_count`` is how many entities of documents they were.
    """

    id: str
    name: str
    types: tuple[str, ...] = ()
    attributes: dict[str, tuple[str | int | float | bool, ...]] = Field(default_factory=dict)
    confidence: Confidence = 1.0
    entity_count: int = 1


class Relation(Payload):
    """An edge of the graph: from an entity to an entity, or to a literal."""

    id: str
    subject_id: str
    predicate_iri: str
    object_id: str | None = None
    literal_value: str | None = None
    literal_type: str | None = None
    confidence: Confidence = 1.0
    evidence: Evidence | None = None


class GraphStats(Payload):
    """Sizes of a graph, and the number of relations dropped because an end isn't an entity."""

    entity_count: int = 0
    relation_count: int = 0
    unresolved_subjects: int = 0
    unresolved_objects: int = 0


class KnowledgeGraph(Payload):
    """One document's graph. ``entity_index`` maps a lower-case name to an entity id."""

    entities: tuple[Entity, ...] = ()
    relations: tuple[Relation, ...] = ()
    entity_index: dict[str, str] = Field(default_factory=dict)
    stats: GraphStats = GraphStats()


class ExtractionStats(Payload):
    """What one document's pipeline did. ``duration_ms`` in milliseconds; ``tokens_used`` is 0 without a model."""

    chunk_count: int = 0
    mention_count: int = 0
    entity_count: int = 0
    relation_count: int = 0
    tokens_used: int = 0
    duration_ms: int = 0
    clustering_enabled: bool = False
    # Of extractors behind a model alone, and left out by all others: what was dropped by reason, and the chunks that were read
    # with a part of the ontology.
    dropped: dict[str, int] = Field(default_factory=dict, exclude_if=lambda value: not value)
    ontology_excerpts: int = Field(0, exclude_if=lambda value: not value)


class ExtractionResult(Payload):
    """What an extractor returns for one document."""

    graph: KnowledgeGraph = KnowledgeGraph()
    stats: ExtractionStats = ExtractionStats()
    config: PipelineConfig | None = None


class Extractor(Protocol):
    """What does one document's work. Called from many threads at once."""

    def run(self, text: str, ontology_content: str, config: PipelineConfig) -> ExtractionResult:
        """Return the graph of one text. Whatever is raised is that document's failed attempt."""


class NamedEntity(Protocol):
    """A document's entity, as far as resolution needs it."""

    @property
    def name(self) -> str:
        """The canonical name if there is one, else the mention."""

    @property
    def types(self) -> Sequence[str]:
        """Its types, the main one first."""

    @property
    def attributes(self) -> Mapping[str, str | int | float | bool]:
        """Its attributes by their names."""

    @property
    def confidence(self) -> float:
        """How certain it is, from 0 to 1."""


class Resolution(Protocol):
    """The result of resolving a batch's entities: the canonical ones, and how many were merged into another."""

    @property
    def entities(self) -> Iterable[CanonicalEntity]:
        """The canonical entities of the batch, in the order of their first mention; they may be made one by one."""

    @property
    def merge_count(self) -> int:
        """How many entities went into another."""

    def canonical_id(self, entity: NamedEntity) -> str:
        """Return the id of the canonical entity that an entity of a document became."""

    def close(self) -> None:
        """Free what the resolution holds; nothing is asked of it any more."""


class Resolver(Protocol):
    """Merges an organization's entities, given as ``(document_id, entity)``, by means of the ontologies."""

    def __call__(
        self, entities: Iterable[tuple[str, NamedEntity]], organization_id: str, ontologies: Iterable[str], /
    ) -> Resolution:
        """Return how the entities of a batch are merged."""
