"""A batch's life as rows and events, in the promised order: begun, its documents attempted, resolved, ended.

Both runtimes go through here, so a runtime decides two things only: the order of documents, and
when to try one again.
"""

import logging
import time
from collections.abc import Callable
from functools import partial
from threading import current_thread, main_thread

from sqlalchemy import func, select, update

from compat.contracts import (
    BatchCreated,
    Extractor,
    PipelineConfig,
    Resolver,
    StageProgress,
    utc_now,
)
from compat.errors import (
    AttemptStoppedError,
    BatchInfrastructureError,
    HandedOverError,
    KnowledgeBatchError,
    StopBatchError,
    StoreUnavailableError,
)
from compat.fault_points import fault_point
from compat.keepable import text_of
from compat.policy import RetryPolicy, retry_policy
from compat.recording import resolving
from compat.recording.attempt import AttemptWriter
from compat.recording.commits import Entry
from compat.recording.lease import Lease, StopRequest
from compat.recording.output import checked
from compat.recording.place import Outcome, Place, Started
from compat.recording.rows import Begun
from compat.status import RowStatus
from compat.store import Claim, Store, events
from compat.store.failures import infrastructure
from compat.store.schema import BatchDocument, BatchExecution, DocumentOutcome, WorkflowExecution
from compat.stored_errors import StoredError
from compat.work import CURRENT, CurrentAttempt

__all__ = ["Outcome", "Place", "Recorder", "Started"]

log = logging.getLogger("knowledge_batch")

# Seconds between two events of a document's progress.
PROGRESS_SECONDS = 1.0


class Recorder:
    """One batch in its holder's hands. Thread-safe: threads of one batch share one recorder.

    As a context manager it holds the batch's lease: renews it in the background and learns of a cancel.
    Leaving it ends nothing by itself: ``finish`` does.
    """

    def __init__(
        self,
        store: Store,
        claim: Claim,
        retry_base_seconds: float = 1.0,
        cancelled_elsewhere: Callable[[], bool] = lambda: False,
        stop: StopRequest | None = None,
    ) -> None:
        """Record one claimed batch.

        Args:
            store: Where the batch is.
            claim: Who holds it.
            retry_base_seconds: What the waits of the owner `activity` are multiples of.
            cancelled_elsewhere: Whether somebody asked for the batch's end outside of the store. Called by the
                watcher; it may fail, which counts as no.
            stop: Where whoever serves the batch may ask it to stop.
        """
        self.store = store
        self.claim = claim
        self.policy: RetryPolicy = retry_policy(claim.config, retry_base_seconds)
        self._attempts = AttemptWriter(store, claim, self.policy)
        self.lease = Lease(store, claim, cancelled_elsewhere, stop)
        self._given_up = False
        self._progress_at: dict[str, float] = {}

    def __enter__(self) -> "Recorder":
        self.lease.__enter__()
        return self

    def __exit__(self, *details: object) -> None:
        self.lease.__exit__(*details)

    def stop(self, reason: str | None = None) -> None:
        """Let no document start from now on; those in work finish. With a reason the batch ends as interrupted by it."""
        self.lease.stop(reason)

    @property
    def stopping(self) -> bool:
        """Whether no further document may start."""
        return self.lease.stopping

    def pause(self, seconds: float) -> None:
        """Wait, or return early where the batch is stopping."""
        self.lease.pause(seconds)

    # --- The batch --------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Write the row as running, then BatchCreated. Raises BatchInfrastructureError if that can't be written."""
        fault_point("claim-committed")
        claim, now = self.claim, utc_now()
        with infrastructure(claim.batch_id, "batch_run_dispatch"), self.store.database.write() as connection:
            run = self.store.held_by(connection, claim)
            if run.status == RowStatus.RUNNING:
                return
            for table, key in ((BatchExecution, claim.batch_id), (WorkflowExecution, claim.execution_id)):
                connection.execute(update(table).where(table.id == key).values(status=RowStatus.RUNNING))
                connection.execute(update(table).where(table.id == key, table.started_at.is_(None)).values(started_at=now))
            event = BatchCreated(batch_id=claim.batch_id, total_documents=run.total_documents)
            events.emit(connection, "created", event)
        fault_point("batch-begun")

    def pending(self) -> dict[str, int]:
        """Return the documents without an outcome, in the order of the request, each with its finished attempts."""
        claim = self.claim
        with infrastructure(claim.batch_id, "batch_run_dispatch"), self.store.database.read() as connection:
            query = (
                select(BatchDocument.document_id, func.coalesce(DocumentOutcome.attempts, 0).label("attempts"))
                .outerjoin(
                    DocumentOutcome,
                    (DocumentOutcome.batch_id == BatchDocument.batch_id)
                    & (DocumentOutcome.document_id == BatchDocument.document_id),
                )
                .where(BatchDocument.batch_id == claim.batch_id, DocumentOutcome.outcome.is_(None))
                .order_by(BatchDocument.position)
            )
            return {row.document_id: row.attempts for row in connection.execute(query)}

    def any_failed(self) -> bool:
        """Return whether some document has failed for good; under abort-all that ends the batch."""
        claim = self.claim
        with infrastructure(claim.batch_id, "batch_run_dispatch"), self.store.database.read() as connection:
            query = select(DocumentOutcome.document_id).where(
                DocumentOutcome.batch_id == claim.batch_id, DocumentOutcome.outcome == "failed"
            )
            return connection.execute(query.limit(1)).first() is not None

    def resolve(self, resolver: Resolver) -> int:
        """Merge entities across the batch's documents, between its two events. Return how many were merged into another."""
        return resolving.resolve(self.store, self.claim, resolver)

    def finish(self) -> RowStatus:
        """Write the terminal event, then the terminal row. Return the row's status.

        A batch that was interrupted before all was done ends as failed and can be resumed, unless
        the interruption was how Prefect cancels. Raises HandedOverError where a demotion takes it to legacy before all was
        done.
        """
        if self.lease.handed_over and (self.pending() or self._is_unresolved()):
            raise HandedOverError(self.claim.batch_id)
        interrupted = self.lease.interrupted
        if interrupted is not None and (self.pending() or self._is_unresolved()):
            if self.lease.is_cancelled_elsewhere():
                self.store.cancel(self.claim.batch_id)
                return self.store.finish(self.claim)
            if self._given_up:
                # Counted here: calls that were in flight when the extractor gave up have ended by now.
                interrupted += f"; {len(self.pending())} documents are missing"
            return self.store.fail(self.claim, f"{interrupted}; go on with knowledge-batch resume {self.claim.batch_id}")
        return self.store.finish(self.claim)

    def _is_unresolved(self) -> bool:
        """Return whether entities are still to be resolved; after a stop before that, a resume does it."""
        claim = self.claim
        with infrastructure(claim.batch_id, "batch_run_dispatch"), self.store.database.read() as connection:
            resolved = events.is_stored(connection, claim.batch_id, f"resolution:{claim.generation}:completed")
        return claim.config.enable_entity_resolution and not resolved

    # --- One attempt ------------------------------------------------------------------------------------------------

    def _tell_progress(self, begun: Begun, stage: str, progress: float) -> None:
        """Emit StageProgress, at most once in PROGRESS_SECONDS a document. Best effort, as every event."""
        now = time.monotonic()
        if now < self._progress_at.get(begun.document_id, 0.0) and progress < 1.0:
            return
        self._progress_at[begun.document_id] = now + PROGRESS_SECONDS
        event = StageProgress(
            batch_id=self.claim.batch_id, document_id=begun.document_id, stage=stage, progress=min(max(progress, 0.0), 1.0)
        )
        key = f"{events.PROGRESS}{begun.document_id}:{begun.generation}:{begun.number}:{stage}:{progress:.4f}"
        try:
            with self.store.database.write() as connection:
                self.store.held_by(connection, self.claim)
                events.emit(connection, key, event, begun.document_id)
        except KnowledgeBatchError:
            log.debug("batch %s, document %s: its progress was not stored", self.claim.batch_id, begun.document_id, exc_info=True)

    def attempt(self, document_id: str, extractor: Extractor) -> Outcome:
        """Try a document once, unless it has its outcome already or the batch is stopping.

        Which attempt it is, and whether another is left, is read from the store: a batch that was
        killed and goes on elsewhere keeps every document's budget. ``unfinished`` asks the runtime
        for another attempt after the policy's wait.
        """
        return self.work(self.start(document_id), extractor)

    def start(self, document_id: str, end: Entry | None = None) -> Started | Outcome:
        """Begin an attempt at a document; an outcome where it has one already, or where the batch is stopping.

        Starts are recorded in the order of the calls, so callers on several threads take turns to keep the request's. With the
        ``end`` of another attempt both are written in one transaction; where that end is refused, so is the start.
        """
        return "stopped" if self.stopping else self._attempts.start(document_id, end)

    def work(self, started: Started | Outcome, extractor: Extractor, place: Place | None = None) -> Outcome:
        """Do the work of an attempt that has begun, and record what came of it. As it succeeds, ``place`` begins its next."""
        if not isinstance(started, Started):
            return started
        begun = self._attempts.begun(started)
        if begun is None:
            self.stop()
            return "stopped"
        fault_point("attempt-started")
        clock = time.monotonic()
        config = PipelineConfig(
            document_id=begun.document_id, organization_id=self.claim.organization_id, ontology_id=self.claim.ontology_id
        )
        work = CurrentAttempt(
            batch_id=self.claim.batch_id,
            document_id=begun.document_id,
            holder=self.claim.holder_token,
            generation=begun.generation,
            attempt=begun.number,
            concurrency=self.claim.config.concurrency,
            stopping=lambda: self.stopping and not self._given_up,
            progress=partial(self._tell_progress, begun),
        )
        token = CURRENT.set(work)
        try:
            extraction = checked(extractor.run(begun.text, begun.ontology, config), begun.text)
        except StoreUnavailableError as error:
            # An extractor that reads its own earlier answers from the store; the outage is not the document's failure.
            raise BatchInfrastructureError(self.claim.batch_id, "batch_run_dispatch", error.reason) from error
        except AttemptStoppedError as error:
            if not self.stopping:
                return self._attempts.failed(begun, StoredError.of(error), _milliseconds(clock))
            return self._attempts.stopped(begun, _milliseconds(clock))
        except StopBatchError as error:
            # Calls of other documents are left to end: they are paid for, and bounded in time.
            self._given_up = True
            self.stop(text_of(error))
            return self._attempts.stopped(begun, _milliseconds(clock))
        except BaseException as error:
            if not isinstance(error, Exception) and current_thread() is main_thread():
                # Ctrl-C and its like, which Python raises in the main thread alone. Raised in any other thread, SystemExit or
                # a CancelledError is what this extractor failed of.
                raise
            return self._attempts.failed(begun, StoredError.of(error), _milliseconds(clock))
        finally:
            CURRENT.reset(token)
            self._progress_at.pop(begun.document_id, None)
        fault_point("extracted")
        return self._attempts.succeeded(begun, extraction, _milliseconds(clock), place)


def _milliseconds(since: float) -> int:
    return round((time.monotonic() - since) * 1000)
