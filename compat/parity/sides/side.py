"""One side of a comparison: all that callers, old readers and subscribers can see of a batch, read into frames.

Documents are read in blocks, so that a batch of any size can be compared. Rows are read as they are stored: a malformed one must
be reported, not stop the comparison.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any

from sqlalchemy import Select, func, select

from compat.errors import BatchNotFoundError
from compat.ids import content_hash, document_execution_id, extraction_id
from compat.modes import Mode
from compat.parity.frames import BATCH_LEVEL, Frames, Records, frames
from compat.parity.sides import names, strays, values
from compat.parity.sides.conduct import Conduct
from compat.parity.sides.log import Log
from compat.parity.sides.values import Span
from compat.parity.sides.work import Limits, Steps
from compat.parity.tape import readings
from compat.policy import retry_policy
from compat.status import SKIPPED
from compat.store import Store, graphs
from compat.store.events import PROGRESS
from compat.store.schema import (
    BatchDocument,
    BatchEventRow,
    BatchExecution,
    BatchRun,
    DocumentOutcome,
    MentionRecord,
    WorkflowActivity,
    WorkflowExecution,
)
from compat.store.sql import IDS, blocks

# Documents in memory at a time, on either side.
BLOCK = 200
# Columns of a batch's row, but for the ids of its documents, of which a large batch has many.
_OF_EXECUTION = [column for column in BatchExecution.__table__.columns if column.name != "document_ids"]
_FIRST = "BatchEvent.BatchCreated"
_LAST = ("BatchEvent.BatchCompleted", "BatchEvent.BatchFailed")


def pairs(legacy: Store, engine: Store, batch_id: str, retry_base_seconds: float) -> Iterator[tuple[Frames, Frames]]:
    """Return both sides' frames: those of every block of documents, then those of the batch itself.

    Legacy's attempts before a resume are history; a shadow is never resumed, so all that it has counts.
    """
    config = legacy.config(batch_id)
    limits = Limits(config.concurrency, retry_policy(config, retry_base_seconds))
    one, other = Side(legacy, batch_id, limits, resumed=True), Side(engine, batch_id, limits, resumed=False)
    for block in blocks(names.of_both(legacy.database, engine.database, batch_id), BLOCK):
        yield one.documents(block), other.documents(block)
    breaches = one.breaches(), other.breaches()
    # A rule that both sides break is no difference.
    both = breaches[0].keys() & breaches[1].keys()
    only = [{rule: text for rule, text in side.items() if rule not in both} for side in breaches]
    yield one.batch(only[0]), other.batch(only[1])


class Side:
    """Everything that a store holds of one batch."""

    def __init__(self, store: Store, batch_id: str, limits: Limits, resumed: bool) -> None:
        """``resumed``: whether the batch may have been resumed; then only a document's attempts since the last resume count."""
        self._store = store
        self._batch_id = batch_id
        self._resumed = resumed
        # Sums over the documents read so far.
        self._sums: Counter[str] = Counter()
        executions = self._rows(select(*_OF_EXECUTION).where(BatchExecution.id == batch_id))
        self._executions = [row._mapping for row in executions]
        began, ended = (self._executions[0][name] if self._executions else None for name in ("started_at", "completed_at"))
        self._span = Span(began, ended)
        self._runs = self._rows(self._of_batch(select(BatchRun.__table__), BatchRun))
        # A resumed batch has the order of several runs, which the rules for one run can't judge.
        of_several_runs = resumed and any(run.generation for run in self._runs)
        told = Steps()
        self._log = Log(store.database, batch_id, told)
        self._conduct = None if of_several_runs else Conduct(limits, self._log.backwards, told, self._name)

    def documents(self, document_ids: Sequence[str]) -> Frames:
        """Return the frames of some documents."""
        executions = {document_execution_id(self._batch_id, name): name for name in document_ids}
        rows = self._rows(select(WorkflowExecution.__table__).where(WorkflowExecution.id.in_(executions)))
        owners = {executions[row.id]: values.inside(row.input, "retryOwner") for row in rows}
        requests = self._requests(document_ids)
        positions = {record["document_id"]: record["position"] for record in requests}
        attempts = self._attempts(executions, positions)
        made = Counter(record["document_id"] for record in attempts)
        calls = readings(self._store.database, self._batch_id, document_ids)
        members = graphs.members(self._store.database, self._batch_id, document_ids)
        records: dict[str, Records] = {
            "requests": requests,
            "events": self._events(document_ids, positions),
            "document_rows": [
                values.record(row, self._span, "knowledge_workflow_execution", document_id=executions[row.id]) for row in rows
            ],
            "activity_rows": attempts,
            "mention_rows": self._mentions(document_ids),
        }
        outcomes = self._of_batch(select(DocumentOutcome.__table__), DocumentOutcome)
        for row in self._in_order(outcomes.where(DocumentOutcome.document_id.in_(document_ids))):
            name = row.document_id
            document = {
                **values.outcome(row, self._span),
                "attempts": made[name],
                "owner": owners.get(name),
                "calls_breach": _calls_breach(calls.get(name), made[name]),
            }
            records.setdefault("documents", []).append(document)
            graph = {kind: values.items(row.extraction, kind) for kind in ("entities", "relations")}
            for kind, key in (("entities", "entity_id"), ("relations", "relation_id")):
                found = [values.item(name, key, *each) for each in enumerate(graph[kind])]
                if kind == "entities":
                    found = [{**each, "canonical_id": members.get((name, str(each[key])))} for each in found]
                records.setdefault(kind, []).extend(found)
            self._sums.update({str(row.outcome): 1, **{kind: len(found) for kind, found in graph.items()}})
        return frames(records)

    def breaches(self) -> dict[str, str]:
        """Return the rules of the contract that the batch as a whole breaks. Call it after ``documents``."""
        run = self._runs[0] if self._runs else None
        found = self._conduct.breaches() if self._conduct is not None else {}
        if run is not None:
            window = run.created_at, self._span.ended
            organization = run.organization_id
            found |= strays.breaches(self._store.database, self._batch_id, run.execution_id, organization, window)
        return found

    def batch(self, breaches: Mapping[str, str]) -> Frames:
        """Return the frames of the batch as a whole. Call it after ``documents``, whose sums it needs."""
        events = self._log.own
        return frames(
            {
                "contract": [{"batch_id": self._batch_id, **breaches}],
                "batch": self._batch(events),
                "events": values.steps(BATCH_LEVEL, [values.without(each, "raw") for each in events]),
                "batch_rows": self._batch_rows(),
                "lookup": self._lookup(events),
            }
        )

    # --- Documents ------------------------------------------------------------------------------------------------------

    def _requests(self, document_ids: Sequence[str]) -> Records:
        query = self._of_batch(select(BatchDocument.__table__), BatchDocument).where(BatchDocument.document_id.in_(document_ids))
        return [
            {
                "document_id": row.document_id,
                "position": row.position,
                "content": content_hash(row.text),
                "content_hash": row.content_hash,
                "ontology_hash": row.ontology_hash,
            }
            for row in self._in_order(query)
        ]

    def _attempts(self, executions: Mapping[str, str], positions: Mapping[str, int]) -> Records:
        rows = self._rows(select(WorkflowActivity.__table__).where(WorkflowActivity.execution_id.in_(executions)))
        last: dict[str, int] = {}
        for row in rows:
            last[row.execution_id] = max(values.generation(row), last.get(row.execution_id, 0))
            if self._conduct is not None:
                self._conduct.attempt(positions.get(executions[row.execution_id]), row.started_at, row.completed_at)
        return [
            {
                **values.record(row, self._span, "knowledge_workflow_activity", document_id=executions[row.execution_id]),
                "input": values.plain(values.without(row.input, "generation")),
                "has_duration": row.duration_ms is not None,
                "duration_is_negative": values.is_negative(row.duration_ms),
            }
            for row in rows
            # A row left behind by a killed process is no attempt.
            if not self._resumed or (values.generation(row) == last[row.execution_id] and row.status != SKIPPED)
        ]

    def _mentions(self, document_ids: Sequence[str]) -> Records:
        extractions = {extraction_id(self._batch_id, name): name for name in document_ids}
        rows = self._rows(select(MentionRecord.__table__).where(MentionRecord.extraction_id.in_(extractions)))
        kind = "knowledge_mention_record"
        # By the half of its id that is its own: the other half was not always its extraction's.
        found = ((row, f"{kind}__{row.extraction_id[-36:-18]}{row.id[-18:]}") for row in rows)
        return [values.record(row, self._span, kind, document_id=extractions[row.extraction_id], mention=id) for row, id in found]

    def _events(self, document_ids: Sequence[str], positions: Mapping[str, int]) -> Records:
        query = self._of_batch(select(BatchEventRow.document_id, BatchEventRow.payload), BatchEventRow)
        query = query.where(BatchEventRow.document_id.in_(document_ids), BatchEventRow.superseded.is_(False))
        query = query.where(BatchEventRow.key.not_like(f"{PROGRESS}%"))
        if len(positions) == len(document_ids):
            # Events have no index of documents: without this the database would look through all of the batch's.
            query = query.where(BatchEventRow.sequence.between(*self._log.span(positions.values())))
        sequences: dict[str, list[dict[str, Any]]] = {}
        for document_id, payload in self._rows(query.order_by(BatchEventRow.sequence)):
            sequences.setdefault(document_id, []).append(values.event(payload, self._batch_id))
        return [record for document_id, events in sequences.items() for record in values.steps(document_id, events)]

    # --- The batch ------------------------------------------------------------------------------------------------------

    def _batch(self, events: Sequence[Mapping[str, Any]]) -> Records:
        terminal = values.without(events[-1].get("raw"), "timestamp", "batchId") if events else None
        state, payload = self._state()
        return [
            {
                "batch_id": self._batch_id,
                "total_documents": self._sums["succeeded"] + self._sums["failed"],
                "success_count": self._sums["succeeded"],
                "failure_count": self._sums["failed"],
                "entity_count": row["entity_count"],
                "relation_count": row["relation_count"],
                "terminal_event": values.inside(terminal, "_tag"),
                "terminal_payload": values.plain(terminal),
                "state": state,
                "state_payload": payload,
                "adds_up": self._adds_up(row, terminal),
                "merged_graph": graphs.fingerprint(self._store.database, self._batch_id),
            }
            for row in self._executions
        ]

    def _adds_up(self, row: Mapping[str, Any], terminal: Any) -> bool | str:
        """Return whether the batch's figures are the sums over its documents. Noise may change both together, never only one."""
        sums = self._sums
        counted = {
            "completed_documents": (row["completed_documents"], sums["succeeded"]),
            "failed_documents": (row["failed_documents"], sums["failed"]),
            "entity_count": (row["entity_count"], sums["entities"]),
            "relation_count": (row["relation_count"], sums["relations"]),
        }
        if values.inside(terminal, "_tag") == "BatchEvent.BatchCompleted":
            whole = {"totalDocuments": sums["succeeded"] + sums["failed"]}
            whole |= {"entityCount": sums["entities"], "relationCount": sums["relations"]}
            counted |= {f"BatchCompleted {key}": (terminal.get(key), count) for key, count in whole.items()}
        wrong = [f"{name} {given} of documents with {count}" for name, (given, count) in counted.items() if given != count]
        return "; ".join(wrong) or True

    def _state(self) -> tuple[str | None, Any]:
        try:
            state = self._store.state(self._batch_id)
        except BatchNotFoundError:
            return None, None
        except ValueError as error:
            return "unreadable", str(error)
        return type(state).__name__, values.plain(state.model_dump(mode="json"))

    def _batch_rows(self) -> Records:
        """Return the batch's rows as an old reader asks for them."""
        asked = select(WorkflowExecution.__table__).where(
            WorkflowExecution.workflow_type == "batch_extraction",
            WorkflowExecution.input["batchId"].as_string() == self._batch_id,
        )
        own = select(BatchExecution.__table__).where(BatchExecution.id == self._batch_id)
        resumed = self._runs[0].generation if self._runs and self._resumed else 0
        made = self._executions[0]["created_at"] if self._executions else None
        span = Span(made, self._span.ended)
        workflow = [
            {
                **values.record(row, span, "knowledge_workflow_execution", table="knowledge_workflow_execution"),
                # Which runtime served is what the row is meant to say differently, and how often the batch was resumed is
                # its operator's doing.
                "input": values.plain(values.without(row.input, "executionMode")),
                "mode_is_known": values.inside(row.input, "executionMode") in set(Mode),
                "retry_count": row.retry_count - resumed,
            }
            for row in self._rows(asked)
        ]
        return [*workflow, *(values.record(row, span, table="knowledge_batch_execution") for row in self._rows(own))]

    def _lookup(self, events: Sequence[Mapping[str, Any]]) -> Records:
        """Return what another process finds of an ended batch, which knows nothing but its id (R4)."""
        if not self._runs:
            return []
        run = self._runs[0]
        results = self._of_batch(select(DocumentOutcome.document_id), DocumentOutcome)
        results = results.where(DocumentOutcome.outcome.is_not(None)).order_by(DocumentOutcome.position)
        tags = [each["event"] for each in events]
        asked = select(func.count()).select_from(BatchDocument).where(BatchDocument.batch_id == self._batch_id)
        answers = {
            "is it the same request": run.params_hash,
            "whose is it": run.organization_id,
            "by which ontology": run.ontology_id,
            "is it free": run.owner is None,
            "was its end asked for": run.cancel_requested_at is not None,
            "has it ended": self._has_ended(),
            "how many documents came in": self._rows(asked)[0][0],
            "documents in the result": self._list(results),
            "are its events there from the first to the last": bool(tags) and (tags[0], tags[-1] in _LAST) == (_FIRST, True),
        }
        return [{"question": question, "answer": answer} for question, answer in answers.items()]

    def _name(self, position: int) -> str:
        query = self._of_batch(select(BatchDocument.document_id), BatchDocument).where(BatchDocument.position == position)
        return str(self._rows(query)[0][0])

    def _has_ended(self) -> bool:
        try:
            return self._store.has_ended(self._batch_id)
        except BatchNotFoundError:
            return False

    def _of_batch(self, query: Select[Any], table: Any) -> Select[Any]:
        return query.where(table.batch_id == self._batch_id)

    def _list(self, query: Select[Any]) -> str:
        """Return the values of a query as a JSON list, made a block at a time: a large batch has many."""
        with self._store.database.stream() as connection:
            parts = [values.plain(block)[1:-1] for block in blocks(connection.execute(query).scalars(), IDS)]
        return f"[{', '.join(parts)}]"

    def _in_order(self, query: Select[Any]) -> Sequence[Any]:
        # Sorted here: asked for in order, SQLite would walk through the whole batch by its index of positions.
        return sorted(self._rows(query), key=attrgetter("position"))

    def _rows(self, query: Select[Any]) -> Sequence[Any]:
        with self._store.database.read() as connection:
            return connection.execute(query).all()


def _calls_breach(calls: int | None, attempts: int) -> str | None:
    """Return how the extractor's calls differ from the attempts, if they do. Calls are counted on the tape alone."""
    return None if calls in (None, attempts) else f"called {calls} times in {attempts} attempts"
