"""What the contract promises around one batch and one attempt: rows, events and counts, in the promised order.

Both runtimes go through here, so a runtime decides two things only: the order of documents, and
when to try one again.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from threading import Event, Thread
from typing import Any, Literal, Protocol

from pydantic import ValidationError
from sqlalchemy import Connection, bindparam, select, update
from sqlalchemy.exc import SQLAlchemyError

from compat import events
from compat.contracts import (
    BatchCreated,
    DocumentCompleted,
    DocumentFailed,
    DocumentStarted,
    Entity,
    ExtractionResult,
    Extractor,
    PipelineConfig,
    ResolutionCompleted,
    ResolutionStarted,
    problems_of,
    utc_now,
)
from compat.errors import BatchInfrastructureError, ExtractorOutputError, LeaseLostError, StoredError
from compat.ids import content_hash, derived_id
from compat.policy import ACTIVITY_NAME, RESOLUTION_NAME, RetryPolicy, retry_policy
from compat.schema import (
    BatchDocument,
    BatchExecution,
    DocumentOutcome,
    MentionRecord,
    OntologyContent,
    WorkflowActivity,
    WorkflowExecution,
)
from compat.sql import insert_or_ignore, upsert
from compat.status import RowStatus
from compat.store import Claim, Store, document_execution_id, extraction_id, held_run, infrastructure

log = logging.getLogger("knowledge_batch")

Outcome = Literal["succeeded", "failed", "unfinished", "stopped"]


class Resolution(Protocol):
    """What resolving a batch's entities came to: where each entity went, and how many went into another."""

    @property
    def canonical(self) -> dict[str, str]: ...

    @property
    def merge_count(self) -> int: ...


@dataclass(frozen=True)
class _Started:
    """An attempt that is under way."""

    number: int
    generation: int
    document_id: str
    position: int
    text: str
    ontology: str
    execution_id: str
    activity_id: str
    at: datetime


class Recorder:
    """One batch in its holder's hands. Thread-safe: threads of one batch share one recorder.

    As a context manager it renews the lease in the background and learns of a cancel; on leaving
    it stops doing so. It ends nothing by itself: ``finish`` does.
    """

    def __init__(self, store: Store, claim: Claim, retry_base_seconds: float = 1.0) -> None:
        self.store = store
        self.claim = claim
        self.policy: RetryPolicy = retry_policy(claim.config, retry_base_seconds)
        self._stopping = Event()
        self._left = Event()
        self._watcher: Thread | None = None
        self._ontologies: dict[str, str] = {}

    # --- Lease and stops --------------------------------------------------------------------------------------------

    def __enter__(self) -> "Recorder":
        self._watcher = Thread(target=self._watch, name=f"lease of {self.claim.batch_id}", daemon=True)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        if self._watcher is not None:
            self._watcher.join()

    def _watch(self) -> None:
        while not self._left.wait(self.store.lease_seconds / 4):
            try:
                signals = self.store.heartbeat(self.claim)
            except SQLAlchemyError:
                # A database that is away for a moment must not end the batch; one that stays away
                # ends it at the next write, or by the lease.
                log.warning("batch %s: the lease could not be renewed", self.claim.batch_id, exc_info=True)
                continue
            if signals.cancel_requested or not signals.held:
                self._stopping.set()

    def stop(self) -> None:
        """No document starts from now on; those in work finish."""
        self._stopping.set()

    @property
    def stopping(self) -> bool:
        """Whether no further document may start."""
        return self._stopping.is_set()

    def pause(self, seconds: float) -> None:
        """Waits, or returns early where the batch is stopping."""
        self._stopping.wait(seconds)

    # --- The batch --------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """The row says running, then BatchCreated. Raises BatchInfrastructureError where that can't be written."""
        claim, now = self.claim, utc_now()
        with infrastructure(claim.batch_id, "batch_run_dispatch"), self.store.database.write() as connection:
            run = held_run(connection, claim)
            if run.status == RowStatus.RUNNING:
                return
            for table, key in ((BatchExecution, claim.batch_id), (WorkflowExecution, claim.execution_id)):
                connection.execute(update(table).where(table.id == key).values(status=RowStatus.RUNNING))
                connection.execute(update(table).where(table.id == key, table.started_at.is_(None)).values(started_at=now))
            event = BatchCreated(batch_id=claim.batch_id, total_documents=run.total_documents)
            events.emit(connection, claim.run, "created", event)

    def pending(self) -> list[str]:
        """Ids of the documents without an outcome, in the order of the request."""
        claim = self.claim
        with infrastructure(claim.batch_id, "batch_run_dispatch"), self.store.database.read() as connection:
            query = (
                select(BatchDocument.document_id)
                .outerjoin(
                    DocumentOutcome,
                    (DocumentOutcome.batch_id == BatchDocument.batch_id)
                    & (DocumentOutcome.run == claim.run)
                    & (DocumentOutcome.document_id == BatchDocument.document_id),
                )
                .where(BatchDocument.batch_id == claim.batch_id, DocumentOutcome.outcome.is_(None))
                .order_by(BatchDocument.position)
            )
            return list(connection.execute(query).scalars())

    def any_failed(self) -> bool:
        """Whether some document has failed for good; under abort-all that ends the batch."""
        claim = self.claim
        with infrastructure(claim.batch_id, "batch_run_dispatch"), self.store.database.read() as connection:
            query = select(DocumentOutcome.document_id).where(
                DocumentOutcome.batch_id == claim.batch_id, DocumentOutcome.run == claim.run, DocumentOutcome.outcome == "failed"
            )
            return connection.execute(query.limit(1)).first() is not None

    def resolve(self, resolver: Callable[[Iterable[tuple[str, Entity]]], Resolution]) -> int:
        """Entities across the batch's documents, between its two events. Returns how many were merged into another.

        A resolver that fails is logged and counts as 0 merged; it never fails the batch.
        """
        claim = self.claim
        key = f"resolution:{claim.generation}"
        with infrastructure(claim.batch_id, "batch_run_dispatch"), self.store.database.write() as connection:
            held_run(connection, claim)
            connection.execute(
                update(WorkflowExecution)
                .where(WorkflowExecution.id == claim.execution_id)
                .values(last_activity_name=RESOLUTION_NAME)
            )
            events.emit(connection, claim.run, f"{key}:started", ResolutionStarted(batch_id=claim.batch_id))
        merged = 0
        resolved: list[dict[str, str]] = []
        try:
            entities = list(self._entities())
            resolution = resolver((document_id, entity) for _, document_id, entity in entities)
            merged = resolution.merge_count
            resolved = [
                {"key": _mention_id(extraction_id, entity, number), "entity": resolution.canonical.get(entity.id, entity.id)}
                for extraction_id, _, entity in entities
                for number in range(len(entity.mentions))
            ]
        except BatchInfrastructureError:
            raise
        except Exception:
            log.exception("batch %s: entities could not be resolved; none are merged", claim.batch_id)
        with infrastructure(claim.batch_id, "batch_run_dispatch"), self.store.database.write() as connection:
            held_run(connection, claim)
            if resolved:
                table = MentionRecord.__table__
                statement = table.update().where(table.c.id == bindparam("key"))  # type: ignore[attr-defined]
                connection.execute(statement.values(resolved_entity_id=bindparam("entity")), resolved)
            event = ResolutionCompleted(batch_id=claim.batch_id, merge_count=merged)
            events.emit(connection, claim.run, f"{key}:completed", event)
        return merged

    def _entities(self) -> Iterator[tuple[str, str, Entity]]:
        claim = self.claim
        query = (
            select(DocumentOutcome.document_id, DocumentOutcome.extraction)
            .where(DocumentOutcome.batch_id == claim.batch_id, DocumentOutcome.run == claim.run)
            .where(DocumentOutcome.outcome == "succeeded")
            .order_by(DocumentOutcome.position)
        )
        with infrastructure(claim.batch_id, "batch_run_dispatch"), self.store.database.read() as connection:
            for document_id, extraction in connection.execute(query):
                for entity in ExtractionResult.model_validate(extraction).graph.entities:
                    yield extraction_id(claim.batch_id, claim.run, document_id), document_id, entity

    def finish(self) -> RowStatus:
        """The terminal event, then the terminal row. Returns what the row says."""
        return self.store.finish(self.claim)

    # --- One attempt ------------------------------------------------------------------------------------------------

    def attempt(self, document_id: str, extractor: Extractor) -> Outcome:
        """Tries a document once, unless it has its outcome already or the batch is stopping.

        Which attempt it is, and whether another is left, is read from the store: a batch that was
        killed and goes on elsewhere keeps every document's budget. ``unfinished`` asks the runtime
        for another attempt after the policy's wait.
        """
        if self.stopping:
            return "stopped"
        started = self._start(document_id)
        if not isinstance(started, _Started):
            return started
        clock = time.monotonic()
        config = PipelineConfig(
            document_id=document_id, organization_id=self.claim.organization_id, ontology_id=self.claim.ontology_id
        )
        try:
            extraction = _checked(extractor.run(started.text, started.ontology, config))
        except Exception as error:
            return self._failed(started, StoredError.of(error), _milliseconds(clock))
        return self._succeeded(started, extraction, _milliseconds(clock))

    def _start(self, document_id: str) -> _Started | Outcome:
        claim = self.claim
        with infrastructure(claim.batch_id, "batch_run_dispatch"), self.store.database.write() as connection:
            run = held_run(connection, claim)
            if run.cancel_requested_at is not None:
                self._stopping.set()
                return "stopped"
            document = connection.execute(
                select(BatchDocument).where(BatchDocument.batch_id == claim.batch_id, BatchDocument.document_id == document_id)
            ).one()
            if document.ontology_hash not in self._ontologies:
                query = select(OntologyContent.content).where(OntologyContent.hash == document.ontology_hash)
                self._ontologies[document.ontology_hash] = connection.execute(query).scalar_one()
            standing = {
                "batch_id": claim.batch_id,
                "run": claim.run,
                "document_id": document_id,
                "position": document.position,
                "generation": 0,
                "attempts": 0,
            }
            insert_or_ignore(connection, DocumentOutcome, standing)
            outcome = connection.execute(
                select(DocumentOutcome.outcome, DocumentOutcome.generation, DocumentOutcome.attempts).where(
                    *_is_outcome(claim, document_id)
                )
            ).one()
            if outcome.outcome is not None:
                replayed: Outcome = outcome.outcome
                return replayed
            execution_id = document_execution_id(claim.batch_id, claim.run, document_id)
            number, generation = outcome.attempts + 1, outcome.generation
            started = _Started(
                number=number,
                generation=generation,
                document_id=document_id,
                position=document.position,
                text=document.text,
                ontology=self._ontologies[document.ontology_hash],
                execution_id=execution_id,
                activity_id=derived_id("knowledge_workflow_activity", execution_id, str(generation), str(number)),
                at=utc_now(),
            )
            self._write_start(connection, started)
            event = DocumentStarted(batch_id=claim.batch_id, document_id=document_id, document_index=document.position)
            events.emit(connection, claim.run, self._event_key("started", started), event, document_id)
            return started

    def _write_start(self, connection: Connection, started: _Started) -> None:
        claim, now = self.claim, started.at
        # The orchestrator's own count of what it retried; the activity's retries happen inside its one try.
        retried = started.number - 1 if self.policy.owner == "orchestrator" else 0
        common = {
            "organization_id": claim.organization_id,
            "status": RowStatus.RUNNING.value,
            "started_at": now,
            "created_at": now,
            "updated_at": now,
            "output": None,
            "error": None,
            "completed_at": None,
        }
        document_row = {
            **common,
            "id": started.execution_id,
            "workflow_type": "extraction",
            "input": {
                "documentId": started.document_id,
                "organizationId": claim.organization_id,
                "ontologyId": claim.ontology_id,
                "textLength": len(started.text),
                "retryOwner": self.policy.owner,
                "retryAttempt": retried,
            },
            "last_activity_name": ACTIVITY_NAME,
            "retry_count": started.number - 1,
        }
        self._best_effort(
            connection, started, lambda: upsert(connection, WorkflowExecution, document_row, keep=("created_at", "started_at"))
        )
        activity_row = {
            **common,
            "id": started.activity_id,
            "execution_id": started.execution_id,
            "activity_name": ACTIVITY_NAME,
            "input": {"documentId": started.document_id, "textLength": len(started.text), "generation": started.generation},
            "attempt": started.number,
            "duration_ms": None,
        }
        upsert(connection, WorkflowActivity, activity_row, keep=("created_at",))

    def _succeeded(self, started: _Started, extraction: ExtractionResult, duration_ms: int) -> Outcome:
        claim, graph, stats = self.claim, extraction.graph, extraction.stats
        entities, relations = len(graph.entities), len(graph.relations)
        with infrastructure(claim.batch_id, "batch_run_dispatch"), self.store.database.write() as connection:
            held_run(connection, claim)
            output = {
                "entityCount": entities,
                "relationCount": relations,
                "mentionCount": stats.mention_count,
                "chunkCount": stats.chunk_count,
            }
            counts = {
                "entity_count": BatchExecution.entity_count + entities,
                "relation_count": BatchExecution.relation_count + relations,
            }
            self._write_end(connection, started, RowStatus.COMPLETED, duration_ms, output=output)
            standing = {"outcome": "succeeded", "extraction": extraction.model_dump(mode="json")}
            self._settle(connection, started, standing, {"completed_documents": BatchExecution.completed_documents + 1, **counts})
            self._write_mentions(connection, started, graph.entities)
            event = DocumentCompleted(
                batch_id=claim.batch_id, document_id=started.document_id, entity_count=entities, relation_count=relations
            )
            events.emit(connection, claim.run, self._event_key("ended", started), event, started.document_id)
        return "succeeded"

    def _failed(self, started: _Started, error: StoredError, duration_ms: int) -> Outcome:
        claim = self.claim
        exhausted = error.terminal or started.number >= self.policy.attempts
        log.warning(
            "batch %s, document %s: attempt %d of %d failed: %s",
            claim.batch_id, started.document_id, started.number, self.policy.attempts, error.text,
        )  # fmt: skip
        with infrastructure(claim.batch_id, "batch_run_dispatch"), self.store.database.write() as connection:
            held_run(connection, claim)
            self._write_end(connection, started, RowStatus.FAILED, duration_ms, error=error.text, document_ended=exhausted)
            standing: dict[str, Any] = {
                "outcome": "failed" if exhausted else None,
                "error_class": error.class_path,
                "error_message": error.message,
                "error_terminal": error.terminal,
                "error_args": list(error.args),
            }
            counts = {"failed_documents": BatchExecution.failed_documents + 1} if exhausted else {}
            self._settle(connection, started, standing, counts)
            if exhausted or self.policy.owner == "orchestrator":
                event = DocumentFailed(batch_id=claim.batch_id, document_id=started.document_id, error=error.text)
                events.emit(connection, claim.run, self._event_key("ended", started), event, started.document_id)
        return "failed" if exhausted else "unfinished"

    def _settle(self, connection: Connection, started: _Started, standing: dict[str, Any], counts: dict[str, Any]) -> None:
        """Where the document stands now, and the batch's counts with it. Guarded: an outcome is written once."""
        changed = connection.execute(
            update(DocumentOutcome)
            .where(*_is_outcome(self.claim, started.document_id), DocumentOutcome.outcome.is_(None))
            .values(attempts=started.number, started_at=started.at, ended_at=utc_now(), **standing)
        )
        if changed.rowcount != 1:
            raise LeaseLostError(self.claim.batch_id)
        if counts:
            connection.execute(update(BatchExecution).where(BatchExecution.id == self.claim.batch_id).values(counts))

    def _write_end(
        self,
        connection: Connection,
        started: _Started,
        status: RowStatus,
        duration_ms: int,
        *,
        output: dict[str, Any] | None = None,
        error: str | None = None,
        document_ended: bool = True,
    ) -> None:
        values = {"status": status, "output": output, "error": error, "completed_at": utc_now()}
        connection.execute(
            update(WorkflowActivity).where(WorkflowActivity.id == started.activity_id).values(**values, duration_ms=duration_ms)
        )
        if document_ended or self.policy.owner == "orchestrator":
            statement = update(WorkflowExecution).where(WorkflowExecution.id == started.execution_id).values(**values)
            self._best_effort(connection, started, lambda: connection.execute(statement))

    def _best_effort(self, connection: Connection, started: _Started, write: Callable[[], object]) -> None:
        """A document's own execution row may be missing; the document goes on."""
        try:
            with connection.begin_nested():
                write()
        except SQLAlchemyError:
            log.exception("batch %s, document %s: its execution row was not written", self.claim.batch_id, started.document_id)

    def _write_mentions(self, connection: Connection, started: _Started, entities: Iterable[Entity]) -> None:
        extraction = extraction_id(self.claim.batch_id, self.claim.run, started.document_id)
        connection.execute(MentionRecord.__table__.delete().where(MentionRecord.extraction_id == extraction))  # type: ignore[attr-defined]
        now = utc_now()
        rows = [
            {
                "id": _mention_id(extraction, entity, number),
                "organization_id": self.claim.organization_id,
                "created_at": now,
                "updated_at": now,
                "extraction_id": extraction,
                "document_id": started.document_id,
                "chunk_index": mention.chunk_index,
                "raw_text": mention.text,
                "mention_type": entity.types[0] if entity.types else mention.suggested_type,
                "confidence": mention.confidence,
                "response_hash": content_hash(mention.model_dump_json()),
                "extracted_at": now,
                "resolved_entity_id": None,
            }
            for entity in entities
            for number, mention in enumerate(entity.mentions)
        ]
        if rows:
            connection.execute(MentionRecord.__table__.insert(), rows)  # type: ignore[attr-defined]

    def _event_key(self, kind: str, started: _Started) -> str:
        # Owner `activity`: one of each a document, however many attempts. Owner `orchestrator`: one of each an attempt.
        attempt = f":{started.number}" if self.policy.owner == "orchestrator" else ""
        return f"{kind}:{started.document_id}:{started.generation}{attempt}"


def _mention_id(extraction: str, entity: Entity, number: int) -> str:
    return derived_id("knowledge_mention_record", extraction, entity.id, str(number))


def _is_outcome(claim: Claim, document_id: str) -> tuple[Any, ...]:
    return (
        DocumentOutcome.batch_id == claim.batch_id,
        DocumentOutcome.run == claim.run,
        DocumentOutcome.document_id == document_id,
    )


def _checked(extraction: object) -> ExtractionResult:
    """What an extractor returned, as the model; one from outside may hand back a dict."""
    if isinstance(extraction, ExtractionResult):
        return extraction
    try:
        return ExtractionResult.model_validate(extraction)
    except ValidationError as error:
        raise ExtractorOutputError("; ".join(str(problem) for problem in problems_of(error))) from None


def _milliseconds(since: float) -> int:
    return round((time.monotonic() - since) * 1000)
