"""The plain way to record an attempt: one SQLAlchemy statement after another, best effort in savepoints, a transaction each.

What the service did before it wrote attempts by prepared statements, several to a commit; tests hold the two together.
"""

import logging
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

from sqlalchemy import Connection, select, update

from compat.contracts import DocumentCompleted, DocumentFailed, DocumentStarted, Entity, ExtractionResult, utc_now
from compat.errors import ExtractorOutputError, LeaseLostError, UnkeepableDataError
from compat.ids import content_hash, derived_id, document_execution_id, extraction_id, mention_id
from compat.keepable import text_of
from compat.modes import Mode
from compat.policy import ACTIVITY_NAME, RetryPolicy
from compat.recording.commits import Entry
from compat.recording.output import Checked
from compat.recording.place import Outcome, Place, Started
from compat.recording.rows import Begun
from compat.status import RowStatus
from compat.store import Claim, Store, events
from compat.store.failures import best_effort, infrastructure
from compat.store.schema import (
    BatchDocument,
    BatchExecution,
    BatchRun,
    DocumentOutcome,
    MentionRecord,
    OntologyContent,
    TapeRow,
    WorkflowActivity,
    WorkflowExecution,
)
from compat.store.sql import insert_or_ignore, upsert
from compat.stored_errors import StoredError

log = logging.getLogger("knowledge_batch")


class PlainWriter:
    """Takes the place of the recorder's AttemptWriter."""

    def __init__(self, store: Store, claim: Claim, policy: RetryPolicy) -> None:
        self.store = store
        self.claim = claim
        self.policy = policy
        self._ontologies: dict[str, str] = {}

    def start(self, document_id: str, _end: Entry | None = None) -> Started | Outcome:
        begun = self._start(document_id)
        if begun in ("succeeded", "failed"):
            return begun
        return Started(begun, Entry([], None))

    def begun(self, started: Started) -> Begun | None:
        return started.begun if isinstance(started.begun, Begun) else None

    def _start(self, document_id: str) -> Begun | Outcome:
        """Write the beginning of an attempt. Return it, or the outcome that the document has already."""
        claim = self.claim
        with infrastructure(claim.batch_id, "batch_run_dispatch"), self.store.database.write() as connection:
            if self.store.held_by(connection, claim).cancel_requested:
                return "stopped"
            document = connection.execute(
                select(BatchDocument).where(BatchDocument.batch_id == claim.batch_id, BatchDocument.document_id == document_id)
            ).one()
            if document.ontology_hash not in self._ontologies:
                query = select(OntologyContent.content).where(OntologyContent.hash == document.ontology_hash)
                self._ontologies[document.ontology_hash] = connection.execute(query).scalar_one()
            standing = {
                "batch_id": claim.batch_id,
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
            execution_id = document_execution_id(claim.batch_id, document_id)
            number, generation = outcome.attempts + 1, outcome.generation
            started = Begun(
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
            events.emit(connection, self._event_key("started", started), event, document_id)
            return started

    def _write_start(self, connection: Connection, started: Begun) -> None:
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
        with self._best_effort(connection, started, "execution row"):
            upsert(connection, WorkflowExecution, document_row, keep=("created_at", "started_at"))
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

    def succeeded(self, started: Begun, result: Checked, duration_ms: int, place: Place | None = None) -> Outcome:
        """Write the attempt's result. One that the database refuses all the same is a failed attempt of its document."""
        with infrastructure(self.claim.batch_id, "batch_run_dispatch"):
            try:
                self._write_success(started, result.extraction, duration_ms)
                if place is not None:
                    place.begin_next(Entry([], None))
                return "succeeded"
            except UnkeepableDataError as refusal:
                error = ExtractorOutputError(f"the database can't keep it: {refusal.reason}")
            except (TypeError, ValueError, RecursionError) as refusal:
                # What fails as rows are made of it.
                error = ExtractorOutputError(f"it can't be written: {type(refusal).__name__}: {text_of(refusal)}")
        return self.failed(started, StoredError.of(error), duration_ms)

    def _write_success(self, started: Begun, extraction: ExtractionResult, duration_ms: int) -> None:
        claim, graph, stats = self.claim, extraction.graph, extraction.stats
        entities, relations = len(graph.entities), len(graph.relations)
        with self.store.database.write() as connection:
            self.store.held_by(connection, claim)
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
            events.emit(connection, self._event_key("ended", started), event, started.document_id)

    def failed(self, started: Begun, error: StoredError, duration_ms: int) -> Outcome:
        """Write that an attempt failed. Return ``failed`` where its budget is spent, else ``unfinished``."""
        claim = self.claim
        exhausted = error.terminal or started.number >= self.policy.attempts
        log.warning(
            "batch %s, document %s: attempt %d of %d failed: %s",
            claim.batch_id, started.document_id, started.number, self.policy.attempts, error.text,
        )  # fmt: skip
        with infrastructure(claim.batch_id, "batch_run_dispatch"), self.store.database.write() as connection:
            self.store.held_by(connection, claim)
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
            self._tape(connection, started, {name: value for name, value in standing.items() if name.startswith("error_")})
            if exhausted or self.policy.owner == "orchestrator":
                event = DocumentFailed(batch_id=claim.batch_id, document_id=started.document_id, error=error.text)
                events.emit(connection, self._event_key("ended", started), event, started.document_id)
        return "failed" if exhausted else "unfinished"

    def stopped(self, started: Begun, duration_ms: int) -> Outcome:
        """Undo an attempt that the extractor left because the batch is to end: it isn't counted, and its number is used again."""
        with infrastructure(self.claim.batch_id, "batch_run_dispatch"), self.store.database.write() as connection:
            self.store.held_by(connection, self.claim)
            values = {"status": "skipped", "error": "stopped: the batch was to end", "completed_at": utc_now()}
            row = update(WorkflowActivity).where(WorkflowActivity.id == started.activity_id)
            connection.execute(row.values(**values, duration_ms=duration_ms))
        return "stopped"

    def _settle(self, connection: Connection, started: Begun, standing: dict[str, Any], counts: dict[str, Any]) -> None:
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
            beside = {name: getattr(BatchRun, name) + value.right.value for name, value in counts.items()}
            connection.execute(update(BatchRun).where(BatchRun.batch_id == self.claim.batch_id).values(beside))

    def _write_end(
        self,
        connection: Connection,
        started: Begun,
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
            with self._best_effort(connection, started, "execution row"):
                connection.execute(update(WorkflowExecution).where(WorkflowExecution.id == started.execution_id).values(**values))

    def _tape(self, connection: Connection, started: Begun, error: dict[str, Any]) -> None:
        """In shadow mode, what the extractor failed of; the shadow replays it. The batch goes on without."""
        if self.claim.mode == Mode.SHADOW:
            key = {"batch_id": self.claim.batch_id, "document_id": started.document_id}
            row = {**key, "generation": started.generation, "attempt": started.number, **error}
            with self._best_effort(connection, started, "tape"):
                insert_or_ignore(connection, TapeRow, row)

    def _best_effort(self, connection: Connection, started: Begun, what: str) -> AbstractContextManager[None]:
        """Let a document go on without its own execution row, or its tape, if either can't be written."""
        return best_effort(connection, f"batch {self.claim.batch_id}, document {started.document_id}: its {what}")

    def _write_mentions(self, connection: Connection, started: Begun, entities: Iterable[Entity]) -> None:
        extraction = extraction_id(self.claim.batch_id, started.document_id)
        connection.execute(MentionRecord.__table__.delete().where(MentionRecord.extraction_id == extraction))  # type: ignore[attr-defined]
        now = utc_now()
        rows = [
            {
                "id": mention_id(extraction, entity.id, number),
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

    def _event_key(self, kind: str, started: Begun) -> str:
        # Owner `activity`: one of each a document, however many attempts. Owner `orchestrator`: one of each an attempt.
        attempt = f":{started.number}" if self.policy.owner == "orchestrator" else ""
        return f"{kind}:{started.document_id}:{started.generation}{attempt}"


def _is_outcome(claim: Claim, document_id: str) -> tuple[Any, ...]:
    return (
        DocumentOutcome.batch_id == claim.batch_id,
        DocumentOutcome.document_id == document_id,
    )
