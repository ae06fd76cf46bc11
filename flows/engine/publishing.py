"""What a person sees of a batch in Prefect: artifacts and log lines of its flow run, and events for automations.

Nothing is published to an embedded server, which ends with the run. Nothing here may fail or delay a batch: a thread of its own
reads the store and writes to Prefect, stops at the first refusal, and is waited for at most ``LAST_SECONDS``.
"""

import json
import logging
import shlex
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import lru_cache
from pathlib import Path
from threading import Event, Thread
from typing import Any
from uuid import UUID

import certifi
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.events import emit_event
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.settings import (
    PREFECT_API_SSL_CERT_FILE,
    PREFECT_API_TLS_INSECURE_SKIP_VERIFY,
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
)

from compat.contracts import (
    BatchCompleted,
    BatchCreated,
    BatchEvent,
    BatchFailed,
    DocumentCompleted,
    DocumentFailed,
    StageProgress,
)
from compat.keepable import one_line
from compat.markdown import escaped
from compat.status import TERMINAL, RowStatus
from compat.store import BatchRecord, Store, events, graphs
from compat.store.overview import DocumentLine, Overview, can_change, overview
from flows.engine import embedded
from flows.engine.changed_settings import changed_settings

log = logging.getLogger("knowledge_batch")

# An artifact costs the server some 15 ms, so progress is published once in so many seconds, and only if it changed.
TICK_SECONDS = 1.0
# How long the end of a batch waits for Prefect to take what is left to publish.
LAST_SECONDS = 5.0
CALL_SECONDS = 3.0
# Bounds of the table and of the log lines about documents: what a person reads, not what a batch has.
MOST_DOCUMENTS = 100
MOST_LINES = 200
# The largest batch, in documents, whose graph is published with it: a larger one would keep the flow run waiting.
MOST_PICTURED = 500

# Whether a flow run further out publishes this context's batch already.
_PUBLISHED: ContextVar[bool] = ContextVar("published", default=False)


@contextmanager
def impatient_client(seconds: float) -> Iterator[SyncPrefectClient]:
    """Open a client that tries each call once, for so long. Certificates are read once, not at every client."""
    once = changed_settings({PREFECT_CLIENT_MAX_RETRIES: 0})
    with once, get_client(httpx_settings={"timeout": seconds, "verify": _verification()}, sync_client=True) as client:
        yield client


def _verification() -> ssl.SSLContext | bool:
    """Return how a server is verified, by Prefect's settings and as Prefect's own clients do it."""
    if PREFECT_API_TLS_INSECURE_SKIP_VERIFY.value():
        return False
    certificates = PREFECT_API_SSL_CERT_FILE.value() or certifi.where()
    return _trust(certificates, Path(certificates).stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _trust(certificates: str, _changed: int) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificates)


# --- What is published: pure ----------------------------------------------------------------------------------------------


def summary(
    batch: BatchRecord, canonical: int | None = None, head: str = "", notes: Sequence[str] = (), resumable: bool = True
) -> str:
    """Return a batch in Markdown: status, counts, time, mode and why, the commands to go on with, and the head of its graph.

    Args:
        batch: The batch.
        canonical: The number of merged entities; None if entities weren't merged.
        head: The head of its graph in Markdown.
        notes: Sentences about its source.
        resumable: Whether a resume can change the batch if it failed.
    """
    quoted = shlex.quote(batch.batch_id)
    facts = {
        "Documents": f"{batch.finished_documents} of {batch.total_documents}: "
        f"{batch.completed_documents} extracted, {batch.failed_documents} failed",
        "Entities": graphs.counted(batch.entity_count, canonical),
        "Relations": f"{batch.relation_count}",
        "Time": f"{batch.seconds:.1f} s",
        "Mode": f"{batch.mode}, {batch.mode_reason}",
    }
    if batch.resolution_error is not None:
        facts["Not merged"] = batch.resolution_error
    if batch.error:
        facts["Reason"] = batch.error
    following = [f"knowledge-batch status {quoted}", f"knowledge-batch events {quoted}"]
    if batch.status == RowStatus.FAILED and resumable:
        following.insert(0, f"knowledge-batch resume {quoted}")
    elif batch.completed_documents:
        again = [f"knowledge-batch run --failed-of {quoted}"] if batch.ended and batch.failed_documents else []
        following[:0] = [f"knowledge-batch export {quoted} --to graph.ttl", f"knowledge-batch view {quoted}", *again]
    rows = [f"| {name} | {escaped(value)} |" for name, value in (*facts.items(), *(("Source", note) for note in notes))]
    # The first fact as the table's head: an empty one shows as an empty row.
    lines = [f"## Batch {escaped(batch.batch_id)}: {batch.status}", "", rows[0], "|---|---|", *rows[1:]]
    return "\n".join([*lines, "", "Go on with:", "", "```sh", *following, "```", *(["", head] if head else [])])


def table(seen: Overview) -> list[dict[str, str]]:
    """Return a row per document, failures first; the last row counts those that are left out."""
    rows = [_row(line) for line in seen.documents]
    left_out = seen.batch.finished_documents - len(rows)
    if left_out > 0:
        more = f"… and {left_out} more; knowledge-batch events {shlex.quote(seen.batch.batch_id)} has them all"
        rows.append({"document": more, "outcome": "", "attempts": "", "entities": "", "relations": "", "error": ""})
    return rows


def percent(batch: BatchRecord, under_way: float = 0.0) -> float:
    """Return the share of the work that is done, 0 to 100. ``under_way`` counts the parts of documents in work."""
    if batch.total_documents == 0:
        return 100.0 if batch.status in TERMINAL else 0.0
    # A document counted as under way may have got its outcome in between.
    return min(100.0, round(100 * (batch.finished_documents + under_way) / batch.total_documents, 1))


def line(event: BatchEvent) -> tuple[int, str] | None:
    """Return the log level and line of an event, with the ids of batch and document; None for events without a line."""
    match event:
        case BatchCreated(total_documents=total):
            return logging.INFO, f"batch {event.batch_id}: created with {total} documents"
        case DocumentCompleted(document_id=document_id, entity_count=entities, relation_count=relations):
            text = f"document {document_id}: extracted, {entities} entities and {relations} relations"
            return logging.INFO, f"batch {event.batch_id}: {text}"
        case DocumentFailed(document_id=document_id, error=error):
            return logging.WARNING, f"batch {event.batch_id}: document {document_id}: {error}"
        case BatchCompleted(total_documents=total, entity_count=entities, relation_count=relations):
            text = f"completed, {total} documents, {entities} entities and {relations} relations"
            return logging.INFO, f"batch {event.batch_id}: {text}"
        case BatchFailed(error=error):
            return logging.ERROR, f"batch {event.batch_id}: {error}"
    return None


def _row(document: DocumentLine) -> dict[str, str]:
    count = {"entities": document.entity_count, "relations": document.relation_count}
    return {
        "document": document.document_id,
        "outcome": "extracted" if document.error is None else "failed",
        "attempts": str(document.attempts),
        **{name: "" if value is None else str(value) for name, value in count.items()},
        "error": document.error or "",
    }


# --- Prefect events ---------------------------------------------------------------------------------------------------


def outlives_process() -> bool:
    """Return whether a Prefect server is in use that outlives this process."""
    return PREFECT_API_URL.value() not in (None, "", embedded.SERVER.url)


def emit(batch: BatchRecord, what: str) -> None:
    """Emit ``knowledge.batch.<what>`` about the resource ``knowledge.batch.<id>``, for automations."""
    counts = {"completedDocuments": batch.completed_documents, "failedDocuments": batch.failed_documents}
    emit_event(
        f"knowledge.batch.{what}",
        {"prefect.resource.id": f"knowledge.batch.{batch.batch_id}", "prefect.resource.name": batch.batch_id},
        payload={
            "mode": batch.mode,
            "reason": batch.error or batch.mode_reason,
            "totalDocuments": batch.total_documents,
            # Emitted a moment late, the counts would make a new batch look half done.
            **(counts if what != "created" else {}),
        },
    )


def emit_about(store: Store, batch_id: str, what: str) -> None:
    """Emit an event about a batch as it is now, unless Prefect's server is embedded. Never raises."""
    if not outlives_process():
        return
    try:
        emit(store.batch(batch_id), what)
    except Exception:
        log.debug("batch %s: the event %s was not emitted", batch_id, what, exc_info=True)


def emit_lost(batch_id: str, what: str, reason: str) -> None:
    """Emit ``knowledge.batch.<what>`` about a batch that was to run and was never stored. Never raises."""
    if not outlives_process():
        return
    try:
        resource = {"prefect.resource.id": f"knowledge.batch.{batch_id}", "prefect.resource.name": batch_id}
        emit_event(event=f"knowledge.batch.{what}", resource=resource, payload={"reason": reason})
    except Exception:
        log.warning("batch %s: Prefect was not told that its run was lost", batch_id, exc_info=True)


# --- While a batch runs -----------------------------------------------------------------------------------------------


@contextmanager
def publish_progress(store: Store, batch_id: str, notes: Sequence[str] = ()) -> Iterator[None]:
    """Publish the batch at the current flow run while the block runs, and once more at its end.

    Does nothing if Prefect's server is embedded, or within a block that already publishes the batch. ``notes`` are sentences
    about the batch's source.
    """
    flow_run_id = flow_run.get_id()
    if not outlives_process() or flow_run_id is None or _PUBLISHED.get():
        yield
        return
    token = _PUBLISHED.set(True)
    left = Event()
    publisher = _Publisher(store, batch_id, UUID(flow_run_id), notes)
    # Settings and the run's logger are found through the context, which a bare thread wouldn't have.
    thread = Thread(target=copy_context().run, args=(publisher.work, left), name=f"publish {batch_id}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        _PUBLISHED.reset(token)
        left.set()
        thread.join(LAST_SECONDS)


class _Publisher:
    """Publishes one batch from its event log and its rows."""

    def __init__(self, store: Store, batch_id: str, flow_run_id: UUID, notes: Sequence[str]) -> None:
        self._notes = notes
        self._store = store
        self._batch_id = batch_id
        self._flow_run_id = flow_run_id
        self._progress_id: UUID | None = None
        self._percent = 0.0
        # The progress of long documents without an outcome, 0 to 1.
        self._under_way: dict[str, float] = {}
        # A run that resumes a batch publishes its own part only.
        self._after = events.last_sequence(store.database, batch_id)
        self._lines = 0

    def work(self, left: Event) -> None:
        try:
            with impatient_client(CALL_SECONDS) as client:
                while not left.wait(TICK_SECONDS):
                    self._log_events()
                    self._publish_progress(client)
                self._log_events()
                self._publish_end(client)
        except Exception:
            log.debug("batch %s is not published in Prefect any more", self._batch_id, exc_info=True)

    def _log_events(self) -> None:
        logger = get_run_logger()
        for sequence, event in events.stored_events(self._store.database, self._batch_id, self._after):
            self._after = sequence
            of_document = isinstance(event, DocumentCompleted | DocumentFailed)
            self._lines += of_document
            if isinstance(event, StageProgress):
                self._under_way[event.document_id] = event.progress
            elif isinstance(event, DocumentCompleted | DocumentFailed):
                self._under_way.pop(event.document_id, None)
            if (logged := line(event)) and not (of_document and self._lines > MOST_LINES):
                logger.log(logged[0], one_line(logged[1]))
            if of_document and self._lines == MOST_LINES:
                logger.info("batch %s: knowledge-batch events has the lines about further documents", self._batch_id)
            if isinstance(event, BatchCreated | BatchCompleted | BatchFailed):
                batch = self._store.batch(self._batch_id)
                emit(batch, "created" if isinstance(event, BatchCreated) else batch.status)

    def _publish_progress(self, client: SyncPrefectClient) -> None:
        share = percent(self._store.batch(self._batch_id), sum(self._under_way.values()))
        if self._progress_id is None:
            self._progress_id = self._create(client, "progress", "batch-progress", share, "Documents with an outcome.")
        elif share != self._percent:
            client.update_artifact(self._progress_id, ArtifactUpdate(data=share))
        self._percent = share

    def _publish_end(self, client: SyncPrefectClient) -> None:
        seen = overview(self._store, self._batch_id, MOST_DOCUMENTS)
        batch = seen.batch
        if batch.status not in TERMINAL:
            # It goes on elsewhere, in legacy or after a suspension, and is published there.
            return
        if self._progress_id is not None:
            client.update_artifact(self._progress_id, ArtifactUpdate(data=percent(batch)))
        canonical = graphs.count(self._store.database, self._batch_id).get(self._batch_id)
        markdown = summary(batch, canonical, self._head(batch), self._notes, can_change(self._store, batch))
        self._create(client, "markdown", "batch-summary", markdown, "What came of the batch.")
        self._create(client, "table", "batch-documents", json.dumps(table(seen)), "Its documents, failures first.")

    def _head(self, batch: BatchRecord) -> str:
        """Return the head of the graph, if it can be made in a moment."""
        if not 0 < batch.completed_documents <= MOST_PICTURED:
            return ""
        from flows.graph import head
        from flows.graph.merged import MergedGraph

        try:
            return head.markdown(MergedGraph(self._store, [self._batch_id]))
        except Exception:
            log.debug("batch %s: its graph is not published", self._batch_id, exc_info=True)
            return ""

    def _create(self, client: SyncPrefectClient, kind: str, key: str, data: Any, description: str) -> UUID:
        artifact = ArtifactCreate(type=kind, key=key, description=description, data=data, flow_run_id=self._flow_run_id)
        return client.create_artifact(artifact).id
