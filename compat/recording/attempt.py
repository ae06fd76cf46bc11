"""One attempt at one document: begun, and ended as succeeded, failed or stopped, each in one transaction."""

import logging
from threading import Lock
from typing import Any

from sqlalchemy import select, update

from compat.contracts import DocumentCompleted, DocumentFailed, DocumentStarted, utc_now
from compat.errors import ExtractorOutputError, UnkeepableDataError
from compat.fault_points import fault_point
from compat.ids import derived_id, document_execution_id
from compat.keepable import text_of
from compat.policy import RetryPolicy
from compat.recording.commits import Commits, Entry
from compat.recording.driver import read
from compat.recording.output import Checked
from compat.recording.place import Outcome, Place, Started
from compat.recording.rows import Begun, Rows
from compat.store import Claim, Store
from compat.store.failures import infrastructure
from compat.store.schema import OntologyContent, WorkflowActivity
from compat.store.schema.statements import Statement, moment_for
from compat.stored_errors import StoredError

log = logging.getLogger("knowledge_batch")

# Documents read in one query: the one about to begin and those after it.
AHEAD = 25

_DOCUMENTS = Statement(
    "SELECT d.document_id, d.position, d.text, d.ontology_hash, o.outcome, o.generation, o.attempts"
    " FROM knowledge_batch_document d LEFT JOIN knowledge_document_outcome o"
    " ON o.batch_id = d.batch_id AND o.document_id = d.document_id"
    " WHERE d.batch_id = ? AND (o.outcome IS NULL OR d.document_id = ?) AND d.position >="
    " (SELECT position FROM knowledge_batch_document WHERE batch_id = ? AND document_id = ?)"
    " ORDER BY d.position LIMIT ?",
    ("batch_id", "document_id", "batch_id", "document_id", "limit"),
)


class AttemptWriter:
    """Writes the attempts of one batch in its holder's name. Thread-safe."""

    def __init__(self, store: Store, claim: Claim, policy: RetryPolicy) -> None:
        self.store = store
        self.claim = claim
        self.policy = policy
        self._commits = Commits(store, claim)
        self._rows = Rows(claim, policy, moment_for(store.database.dialect))
        self._ontologies: dict[str, str] = {}
        # Documents that were read ahead, and the furthest position that was tried: up to there, where they stand is read anew.
        self._ahead: dict[str, list[Any]] = {}
        self._reached = -1
        self._reading = Lock()

    def start(self, document_id: str, end: Entry | None = None) -> Started | Outcome:
        """Queue the beginning of an attempt, right behind ``end``. Return it, or the outcome that the document already has."""
        claim = self.claim
        with infrastructure(claim.batch_id, "batch_run_dispatch"):
            position, text, ontology_hash, outcome, generation, attempts = self._document(document_id)
            if outcome is not None:
                replayed: Outcome = outcome
                return replayed
            ontology = self._ontology(ontology_hash)
        is_new = generation is None
        number, generation = (attempts or 0) + 1, generation or 0
        execution_id = document_execution_id(claim.batch_id, document_id)
        begun = Begun(
            number=number,
            generation=generation,
            document_id=document_id,
            position=position,
            text=text,
            ontology=ontology,
            execution_id=execution_id,
            activity_id=derived_id("knowledge_workflow_activity", execution_id, str(generation), str(number)),
            at=utc_now(),
        )
        event = DocumentStarted(batch_id=claim.batch_id, document_id=document_id, document_index=position)
        entry = Entry(self._rows.start(begun, is_new), self._rows.event("started", begun, event), begins=True, behind=end)
        self._commits.add(*filter(None, (end, entry)))
        return Started(begun, entry)

    def begun(self, started: Started) -> Begun | None:
        """Return the attempt once its beginning is written; None where the batch is to end, and nothing was written."""
        with infrastructure(self.claim.batch_id, "batch_run_dispatch"):
            return started.begun if self._commits.wait(started.entry) else None

    def succeeded(self, begun: Begun, result: Checked, duration_ms: int, place: Place | None = None) -> Outcome:
        """Write the attempt's result. One that the database refuses all the same is a failed attempt of its document.

        With a ``place`` its next document begins in the same transaction.
        """
        try:
            end = self._success(begun, result, duration_ms)
        except (TypeError, ValueError, RecursionError) as refusal:
            # What fails as rows are made of it.
            error = ExtractorOutputError(f"it can't be written: {type(refusal).__name__}: {text_of(refusal)}")
            return self.failed(begun, StoredError.of(error), duration_ms)
        with infrastructure(self.claim.batch_id, "batch_run_dispatch"):
            try:
                try:
                    if place is not None:
                        place.begin_next(end)
                finally:
                    # Whatever keeps the next one from beginning.
                    self._write(end)
                fault_point("outcome-committed")
                return "succeeded"
            except UnkeepableDataError as refusal:
                error = ExtractorOutputError(f"the database can't keep it: {refusal.reason}")
        if place is not None:
            place.put_back()
        return self.failed(begun, StoredError.of(error), duration_ms)

    def _success(self, begun: Begun, result: Checked, duration_ms: int) -> Entry:
        graph, stats = result.extraction.graph, result.extraction.stats
        entities, relations = len(graph.entities), len(graph.relations)
        counts = {
            "entityCount": entities,
            "relationCount": relations,
            "mentionCount": stats.mention_count,
            "chunkCount": stats.chunk_count,
        }
        event = DocumentCompleted(
            batch_id=self.claim.batch_id, document_id=begun.document_id, entity_count=entities, relation_count=relations
        )
        return Entry(
            self._rows.success(begun, duration_ms, counts, result.json, graph.entities),
            self._rows.event("ended", begun, event),
            counts=(1, 0, entities, relations),
            succeeds=True,
        )

    def failed(self, begun: Begun, error: StoredError, duration_ms: int) -> Outcome:
        """Write that an attempt failed. Return ``failed`` where its budget is spent, else ``unfinished``."""
        exhausted = error.terminal or begun.number >= self.policy.attempts
        log.warning(
            "batch %s, document %s: attempt %d of %d failed: %s",
            self.claim.batch_id, begun.document_id, begun.number, self.policy.attempts, error.text,
        )  # fmt: skip
        ended = None
        if exhausted or self.policy.owner == "orchestrator":
            event = DocumentFailed(batch_id=self.claim.batch_id, document_id=begun.document_id, error=error.text)
            ended = self._rows.event("ended", begun, event)
        writes = self._rows.failure(begun, duration_ms, error, ended=exhausted)
        with infrastructure(self.claim.batch_id, "batch_run_dispatch"):
            self._write(Entry(writes, ended, counts=(0, int(exhausted), 0, 0)))
        fault_point("failure-committed")
        return "failed" if exhausted else "unfinished"

    def stopped(self, begun: Begun, duration_ms: int) -> Outcome:
        """Undo an attempt that the extractor left because the batch is to end: it isn't counted, and its number is used again."""
        with infrastructure(self.claim.batch_id, "batch_run_dispatch"), self.store.database.write() as connection:
            self.store.held_by(connection, self.claim)
            values = {"status": "skipped", "error": "stopped: the batch was to end", "completed_at": utc_now()}
            row = update(WorkflowActivity).where(WorkflowActivity.id == begun.activity_id)
            connection.execute(row.values(**values, duration_ms=duration_ms))
        return "stopped"

    def _write(self, entry: Entry) -> None:
        if not entry.queued:
            self._commits.add(entry)
        self._commits.wait(entry)

    def _document(self, document_id: str) -> list[Any]:
        """Return a document and where it stands, read before the lock is taken, a few documents at a time.

        As long as this claim holds, which is asked as the beginning is written, nobody but this writer changes that.
        """
        with self._reading:
            if document_id not in self._ahead:
                batch_id = self.claim.batch_id
                rows = read(self.store.database, _DOCUMENTS, (batch_id, document_id, batch_id, document_id, AHEAD))
                self._ahead |= {each: row for each, *row in rows if each == document_id or row[0] > self._reached}
            document = self._ahead.pop(document_id)
            self._reached = max(self._reached, document[0])
            return document

    def _ontology(self, ontology_hash: str) -> str:
        if ontology_hash not in self._ontologies:
            query = select(OntologyContent.content).where(OntologyContent.hash == ontology_hash)
            with self.store.database.read() as connection:
                self._ontologies[ontology_hash] = connection.execute(query).scalar_one()
        return self._ontologies[ontology_hash]
