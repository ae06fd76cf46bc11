"""What the contract promises around one batch and one attempt: rows, events and counts, in the promised order.

Both runtimes go through here, so a runtime decides two things only: the order of documents, and
when to try one again.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from threading import Event, Thread
from typing import Protocol
from weakref import WeakSet

from pydantic import ValidationError
from sqlalchemy import bindparam, select, update
from sqlalchemy.exc import SQLAlchemyError

from compat.contracts import (
    BatchCreated,
    Entity,
    ExtractionResult,
    Extractor,
    PipelineConfig,
    ResolutionCompleted,
    ResolutionStarted,
    problems_of,
    utc_now,
)
from compat.errors import (
    BatchInfrastructureError,
    ExtractorOutputError,
    InvalidStateTransitionError,
    KnowledgeBatchError,
    StoredError,
)
from compat.policy import RESOLUTION_NAME, RetryPolicy, retry_policy
from compat.recording.attempt import AttemptWriter, Outcome, Started, mention_id
from compat.status import RowStatus
from compat.store import events
from compat.store.claims import Claim, Store, held_run
from compat.store.reading import infrastructure
from compat.store.schema import BatchDocument, BatchExecution, DocumentOutcome, MentionRecord, WorkflowExecution

__all__ = ["CALL", "Outcome", "Recorder", "Resolution", "live_recorders"]

log = logging.getLogger("knowledge_batch")

# The batches that this very process works on: what a signal to it is about.
_LIVE: "WeakSet[Recorder]" = WeakSet()

# The call that a batch is worked on for, where its caller may want to stop that and nothing else; threads get it with a
# copy of the context.
CALL: ContextVar[object] = ContextVar("call", default=None)

# The longest that a cancel which is asked for outside of the store stays unseen, in seconds.
LOOK_SECONDS = 5.0


class Resolution(Protocol):
    """What resolving a batch's entities came to: where each entity went, and how many went into another."""

    @property
    def canonical(self) -> dict[str, str]: ...

    @property
    def merge_count(self) -> int: ...


class Recorder:
    """One batch in its holder's hands. Thread-safe: threads of one batch share one recorder.

    As a context manager it renews the lease in the background and learns of a cancel; on leaving
    it stops doing so. It ends nothing by itself: ``finish`` does.
    """

    def __init__(
        self,
        store: Store,
        claim: Claim,
        retry_base_seconds: float = 1.0,
        cancelled_elsewhere: Callable[[], bool] = lambda: False,
    ) -> None:
        """
        Args:
            store: Where the batch is.
            claim: Who holds it.
            retry_base_seconds: What the waits of the owner `activity` are multiples of.
            cancelled_elsewhere: Whether somebody asked for the batch's end outside of the store. Called by the
                watcher; it may fail, which counts as no.
        """
        self.store = store
        self.claim = claim
        self.call = CALL.get()
        self.policy: RetryPolicy = retry_policy(claim.config, retry_base_seconds)
        self._attempts = AttemptWriter(store, claim, self.policy)
        self._cancelled_elsewhere = cancelled_elsewhere
        self._stopping = Event()
        self._interrupted: str | None = None
        self._left = Event()
        self._watcher: Thread | None = None

    # --- Lease and stops --------------------------------------------------------------------------------------------

    def __enter__(self) -> "Recorder":
        _LIVE.add(self)
        self._watcher = Thread(target=self._watch, name=f"lease of {self.claim.batch_id}", daemon=True)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        _LIVE.discard(self)
        self._left.set()
        if self._watcher is not None:
            self._watcher.join()

    def _watch(self) -> None:
        while not self._left.wait(min(self.store.lease_seconds / 4, LOOK_SECONDS)):
            try:
                signals = self.store.heartbeat(self.claim)
                if signals.cancel_requested or not signals.held:
                    self._stopping.set()
                elif self._is_cancelled_elsewhere():
                    self.store.cancel(self.claim.batch_id)
                    self._stopping.set()
            except InvalidStateTransitionError:
                # It ended in the meantime.
                return
            except (SQLAlchemyError, KnowledgeBatchError):
                # What is away for a moment must not end the batch. A database that stays away ends it
                # at the next write, or by the lease.
                log.warning("batch %s: no heartbeat this time", self.claim.batch_id, exc_info=True)

    def _is_cancelled_elsewhere(self) -> bool:
        try:
            return self._cancelled_elsewhere()
        except Exception:
            # Whoever is asked may be away; the store is asked as well.
            log.debug("batch %s: whether it was cancelled elsewhere is not known", self.claim.batch_id, exc_info=True)
            return False

    def stop(self, reason: str | None = None) -> None:
        """No document starts from now on; those in work finish. With a reason the batch ends as interrupted by it."""
        self._interrupted = self._interrupted or reason
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
            events.emit(connection, "created", event)

    def pending(self) -> list[str]:
        """Ids of the documents without an outcome, in the order of the request."""
        claim = self.claim
        with infrastructure(claim.batch_id, "batch_run_dispatch"), self.store.database.read() as connection:
            query = (
                select(BatchDocument.document_id)
                .outerjoin(
                    DocumentOutcome,
                    (DocumentOutcome.batch_id == BatchDocument.batch_id)
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
                DocumentOutcome.batch_id == claim.batch_id, DocumentOutcome.outcome == "failed"
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
            events.emit(connection, f"{key}:started", ResolutionStarted(batch_id=claim.batch_id))
        merged = 0
        resolved: list[dict[str, str]] = []
        try:
            entities = list(self._entities())
            resolution = resolver((document_id, entity) for _, document_id, entity in entities)
            merged = resolution.merge_count
            resolved = [
                {"key": mention_id(extraction_id, entity, number), "entity": resolution.canonical.get(entity.id, entity.id)}
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
            events.emit(connection, f"{key}:completed", event)
        return merged

    def _entities(self) -> Iterator[tuple[str, str, Entity]]:
        for stored in self.store.extractions(self.claim.batch_id):
            for entity in stored.result.graph.entities:
                yield stored.extraction_id, stored.document_id, entity

    def finish(self) -> RowStatus:
        """The terminal event, then the terminal row. Returns what the row says.

        A batch that was interrupted before all was done ends as failed and can be resumed, unless
        the interruption was how Prefect cancels.
        """
        if self._interrupted is not None and (self.pending() or self._is_unresolved()):
            if self._is_cancelled_elsewhere():
                self.store.cancel(self.claim.batch_id)
                return self.store.finish(self.claim)
            return self.store.fail(self.claim, f"{self._interrupted}; go on with knowledge-batch resume {self.claim.batch_id}")
        return self.store.finish(self.claim)

    def _is_unresolved(self) -> bool:
        """Whether entities are still to be resolved; a stop between the last document and that leaves it to a resume."""
        claim = self.claim
        with infrastructure(claim.batch_id, "batch_run_dispatch"), self.store.database.read() as connection:
            told = events.is_told(connection, claim.batch_id, f"resolution:{claim.generation}:completed")
        return claim.config.enable_entity_resolution and not told

    # --- One attempt ------------------------------------------------------------------------------------------------

    def attempt(self, document_id: str, extractor: Extractor) -> Outcome:
        """Tries a document once, unless it has its outcome already or the batch is stopping.

        Which attempt it is, and whether another is left, is read from the store: a batch that was
        killed and goes on elsewhere keeps every document's budget. ``unfinished`` asks the runtime
        for another attempt after the policy's wait.
        """
        if self.stopping:
            return "stopped"
        started = self._attempts.start(document_id)
        if not isinstance(started, Started):
            if started == "stopped":
                self._stopping.set()
            return started
        clock = time.monotonic()
        config = PipelineConfig(
            document_id=document_id, organization_id=self.claim.organization_id, ontology_id=self.claim.ontology_id
        )
        try:
            extraction = _checked(extractor.run(started.text, started.ontology, config))
        except Exception as error:
            return self._attempts.failed(started, StoredError.of(error), _milliseconds(clock))
        return self._attempts.succeeded(started, extraction, _milliseconds(clock))


def live_recorders() -> list[Recorder]:
    """The batches that this process is working on now."""
    return list(_LIVE)


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
