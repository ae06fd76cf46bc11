"""The payloads that callers, readers of the tables and subscribers exchange (CONTRACT 2, 3, 5, 6).

Attributes are snake_case; JSON is camelCase, which old readers query by name.
"""

import unicodedata
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, Protocol, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from compat.errors import InvalidInputError, Problem


class Payload(BaseModel):
    """A frozen model whose JSON is camelCase and which refuses keys it doesn't know."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        extra="forbid",
        frozen=True,
    )


def _checked_id(value: str) -> str:
    if any(unicodedata.category(character) == "Cc" for character in value):
        raise ValueError("has a control character; an id is 1 to 200 characters without any")
    return value


def _checked_text(value: str) -> str:
    if "\x00" in value:
        raise ValueError("has a NUL character, which databases can't keep; remove it")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"isn't Unicode text: a lone surrogate stands at {error.start}; decode the source as UTF-8") from None
    return value


PlainText = Annotated[str, AfterValidator(_checked_text)]
Id = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_checked_text), AfterValidator(_checked_id)]
Confidence = Annotated[float, Field(ge=0.0, le=1.0)]


def utc_now() -> datetime:
    """The time now, with its zone."""
    return datetime.now(UTC)


# --- Request (CONTRACT 2) ---------------------------------------------------------------------------------------------


class FailurePolicy(StrEnum):
    """What a failed document does to the rest of its batch (CONTRACT 4)."""

    CONTINUE = "continue-on-failure"
    ABORT_ALL = "abort-all"
    RETRY_FAILED = "retry-failed"


class BatchConfig(Payload):
    """How a batch is worked through."""

    concurrency: int = Field(3, ge=1, le=20, strict=True, description="Documents in work at the same time, 1 to 20.")
    failure_policy: FailurePolicy = Field(
        FailurePolicy.CONTINUE, description="What a failed document does to the rest of the batch."
    )
    max_retries: int = Field(
        2, ge=0, le=1000, strict=True, description="Extra rounds for failed documents under retry-failed, 0 to 1,000."
    )
    enable_entity_resolution: bool = Field(
        True, strict=True, description="Whether entities that mean the same are merged across documents."
    )


class DocumentInput(Payload):
    """One document and the ontology (Turtle) that it is read by."""

    document_id: Id
    text: PlainText
    ontology_content: PlainText


class BatchParams(Payload):
    """What ``run_batch`` takes. Without a batch id one is made."""

    batch_id: Id | None = None
    organization_id: Id
    ontology_id: Id
    documents: tuple[DocumentInput, ...]
    config: BatchConfig = BatchConfig()

    @model_validator(mode="after")
    def _document_ids_are_unique(self) -> Self:
        seen: set[str] = set()
        for document in self.documents:
            if document.document_id in seen:
                raise ValueError(f"documentId {document.document_id!r} stands twice; give every document an id of its own")
            seen.add(document.document_id)
        return self

    @classmethod
    def parse(cls, params: "BatchParams | Mapping[str, Any]") -> "BatchParams":
        """Validated params. Raises InvalidInputError that names every field at fault, its value and the bound."""
        if isinstance(params, cls):
            return params
        try:
            return cls.model_validate(params)
        except ValidationError as error:
            raise InvalidInputError(problems_of(error)) from None


def problems_of(error: ValidationError) -> list[Problem]:
    """Pydantic's findings as ours: field by its JSON path, value, advice."""
    found = []
    for item in error.errors(include_url=False):
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in item["loc"]).lstrip(".")
        advice = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            advice = "unknown key; remove it or mend its spelling"
        elif item["type"] == "missing":
            advice = "is missing; add it"
        value = item["input"]
        if item["type"] == "missing" or not path:
            # The input is the whole object here; its keys tell more than its text.
            value = sorted(value) if isinstance(value, Mapping) else type(value).__name__
        found.append(Problem(path or "params", value, advice))
    return found


# --- Extraction (CONTRACT 3 and 9) ------------------------------------------------------------------------------------


class PipelineConfig(Payload):
    """What an extractor is told besides the text and the ontology."""

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
    """Where in the document a relation is said."""

    text: str
    start_char: int = Field(0, ge=0)
    end_char: int = Field(0, ge=0)


class Entity(Payload):
    """A node of the graph. ``types`` are class IRIs of the ontology, the main one first."""

    id: str
    mention: str
    canonical_name: str | None = None
    types: tuple[str, ...] = ()
    attributes: dict[str, str | int | float | bool] = {}
    confidence: Confidence = 1.0
    mentions: tuple[Mention, ...] = ()

    @property
    def name(self) -> str:
        """The canonical name where there is one, else the mention."""
        return self.canonical_name or self.mention


class CanonicalEntity(Payload):
    """What entities of one or more documents come to that mean the same (CONTRACT 9.8).

    ``types`` are those of all of them, the commonest main one first; ``attributes`` has every value that any of them
    has. ``entity_count`` is how many entities of documents they were.
    """

    id: str
    name: str
    types: tuple[str, ...] = ()
    attributes: dict[str, tuple[str | int | float | bool, ...]] = {}
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
    """Sizes of a graph, and the relations dropped because an end of theirs is no entity."""

    entity_count: int = 0
    relation_count: int = 0
    unresolved_subjects: int = 0
    unresolved_objects: int = 0


class KnowledgeGraph(Payload):
    """One document's graph. ``entity_index`` maps a lower-case name to an entity id."""

    entities: tuple[Entity, ...] = ()
    relations: tuple[Relation, ...] = ()
    entity_index: dict[str, str] = {}
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
    dropped: dict[str, int] = Field({}, exclude_if=lambda value: not value)
    ontology_excerpts: int = Field(0, exclude_if=lambda value: not value)


class ExtractionResult(Payload):
    """What an extractor returns for one document."""

    graph: KnowledgeGraph = KnowledgeGraph()
    stats: ExtractionStats = ExtractionStats()
    config: PipelineConfig | None = None


class Extractor(Protocol):
    """What does one document's work. Called from many threads at once."""

    def run(self, text: str, ontology_content: str, config: PipelineConfig) -> ExtractionResult: ...


# --- Result (CONTRACT 3) ----------------------------------------------------------------------------------------------


class Success(Payload):
    """A document that has its graph."""

    ok: Literal[True] = True
    extraction: ExtractionResult


class Failure(Payload):
    """A document that has none. ``error`` is ``ClassName: message`` of its last attempt."""

    ok: Literal[False] = False
    error: str


class DocumentResult(Payload):
    """One document's outcome."""

    document_id: str
    result: Annotated[Success | Failure, Field(discriminator="ok")]


class BatchResult(Payload):
    """What ``run_batch`` returns. Under abort-all ``total_documents`` counts the documents attempted, not those asked for."""

    batch_id: str
    document_results: tuple[DocumentResult, ...]
    total_documents: int
    success_count: int
    failure_count: int
    entity_count: int
    relation_count: int

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        # Its documents would fill many screens.
        return [each for each in super().__repr_args__() if each[0] != "document_results"]


class BatchStarted(Payload):
    """What ``start_batch`` returns."""

    batch_id: str
    total_documents: int


class BatchCancelled(Payload):
    """What ``cancel_batch`` returns."""

    batch_id: str
    cancelled: Literal[True] = True


# --- Tagged unions: events (CONTRACT 5) and states (CONTRACT 6) -------------------------------------------------------


class Tagged(Payload):
    """A member of a union that readers tell apart by ``_tag``, e.g. ``BatchEvent.DocumentFailed``."""

    union: ClassVar[str]
    tag: str = Field("", alias="_tag")
    batch_id: str

    @model_validator(mode="before")
    @classmethod
    def _bears_its_tag(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            tag = f"{cls.union}.{cls.__name__}"
            given = data.get("_tag", data.get("tag", tag))
            if given != tag:
                raise ValueError(f"_tag {given!r} is not {tag!r}")
            return {**{key: value for key, value in data.items() if key != "tag"}, "_tag": tag}
        return data

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Self:
        """The member of this union that ``data`` is, chosen by its ``_tag``."""
        for kind in cls.__subclasses__():
            if data.get("_tag") == f"{kind.union}.{kind.__name__}":
                return kind.model_validate(data)
        raise ValueError(f"_tag {data.get('_tag')!r} is none of {[kind.__name__ for kind in cls.__subclasses__()]}")


class BatchEvent(Tagged):
    """Something that happened to a batch."""

    union = "BatchEvent"
    timestamp: datetime = Field(default_factory=utc_now)


class BatchCreated(BatchEvent):
    total_documents: int


class DocumentStarted(BatchEvent):
    document_id: str
    document_index: int


class DocumentCompleted(BatchEvent):
    document_id: str
    entity_count: int
    relation_count: int


class DocumentFailed(BatchEvent):
    document_id: str
    error: str


class StageProgress(BatchEvent):
    document_id: str
    stage: str
    progress: float = Field(ge=0.0, le=1.0)


class ResolutionStarted(BatchEvent):
    pass


class ResolutionCompleted(BatchEvent):
    merge_count: int


class BatchCompleted(BatchEvent):
    total_documents: int
    entity_count: int
    relation_count: int


class BatchFailed(BatchEvent):
    error: str
    failed_documents: int


class BatchState(Tagged):
    """Where a batch stands."""

    union = "BatchState"


class Pending(BatchState):
    pass


class Extracting(BatchState):
    completed_documents: int
    total_documents: int
    progress: float = Field(ge=0.0, le=1.0)


class Resolving(BatchState):
    progress: float = Field(ge=0.0, le=1.0)


class Completed(BatchState):
    total_documents: int
    entity_count: int
    relation_count: int


class Failed(BatchState):
    failed_documents: int
    error: str


class Cancelled(BatchState):
    completed_documents: int
    total_documents: int


class ActivityProgress(Payload):
    """Progress of one document's pipeline (CONTRACT 5): 0 started, 1 completed, 0 failed."""

    execution_id: str
    activity_name: str
    status: Literal["started", "completed", "failed"]
    progress: float = Field(ge=0.0, le=1.0)
    message: str
    timestamp: datetime = Field(default_factory=utc_now)


class BatchSummary(Payload):
    """One line of ``list_batches``.

    ``entity_count`` sums over documents; ``canonical_entity_count`` is what they were merged to, None where they aren't.
    """

    batch_id: str
    organization_id: str
    ontology_id: str
    mode: str
    status: str
    total_documents: int
    completed_documents: int
    failed_documents: int
    entity_count: int
    canonical_entity_count: int | None = None
    relation_count: int
    created_at: datetime
    completed_at: datetime | None
    error: str | None
