"""Both sides of a comparison as pandas frames: all that callers, old readers and subscribers can see of a batch.

A block of documents is read at a time, so that a batch of any size can be compared. Rows are read as they are stored:
one that no model would take is to be found here, not to stop the comparison.
"""

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from sqlalchemy import Select, func, select

from compat.errors import BatchNotFoundError
from compat.ids import content_hash
from compat.status import SKIPPED
from compat.store import Store
from compat.store.events import PROGRESS
from compat.store.reading import document_execution_id, extraction_id
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
from compat.store.sql import blocks

# Key columns by frame, in the order in which differences are shown: what became of documents before what follows from it.
# `rows` has no numbering of its own: an old reader's key is what it looks a row up by.
KEYS: Mapping[str, tuple[str, ...]] = {
    "documents": ("document_id",),
    "entities": ("document_id", "entity_id"),
    "relations": ("document_id", "relation_id"),
    "events": ("document_id", "place"),
    "requests": ("document_id",),
    "batch": ("batch_id",),
    "batch_rows": ("table",),
    "document_rows": ("document_id",),
    "activity_rows": ("document_id", "attempt"),
    "mention_rows": ("document_id", "mention"),
    "lookup": ("question",),
}
BATCH_LEVEL = ""
# Documents in memory at a time, on either side.
BLOCK = 200

Frames = Mapping[str, pd.DataFrame]
Records = list[dict[str, Any]]


def pairs(legacy: Store, engine: Store, batch_id: str) -> Iterator[tuple[Frames, Frames]]:
    """Both sides' frames: those of every block of documents, then those of the batch itself.

    Legacy's attempts before a resume are history; a shadow is never resumed, so all that it has counts.
    """
    one, other = Side(legacy, batch_id, resumed=True), Side(engine, batch_id, resumed=False)
    for block in blocks(dict.fromkeys([*one.document_ids(), *other.document_ids()]), BLOCK):
        yield one.documents(block), other.documents(block)
    yield one.batch(), other.batch()


def frames(records: Mapping[str, Records]) -> Frames:
    """A frame for each of `KEYS`; those without records are empty."""
    return {name: _frame(name, records.get(name, [])) for name in KEYS}


def _frame(name: str, records: Records) -> pd.DataFrame:
    # Objects throughout: pandas would make floats of counts where one is missing, and then 3 is 3.0.
    return pd.DataFrame(records, columns=None if records else list(KEYS[name]), dtype=object)


class Side:
    """One side of a comparison: what a store has of a batch."""

    def __init__(self, store: Store, batch_id: str, resumed: bool) -> None:
        """``resumed``: whether the batch may have been, so that only the attempts of a document's last budget count."""
        self._store = store
        self._batch_id = batch_id
        self._resumed = resumed
        # What the documents read so far come to.
        self._sums: Counter[str] = Counter()

    def document_ids(self) -> list[str]:
        """All documents that there is anything of, in the order of the request."""
        asked = self._of_batch(select(BatchDocument.document_id), BatchDocument).order_by(BatchDocument.position)
        tried = self._of_batch(select(DocumentOutcome.document_id), DocumentOutcome).order_by(DocumentOutcome.position)
        told = self._of_batch(select(BatchEventRow.document_id), BatchEventRow).where(BatchEventRow.document_id.is_not(None))
        return [row[0] for query in (asked, tried, told.distinct()) for row in self._rows(query)]

    def documents(self, document_ids: Sequence[str]) -> Frames:
        """The frames of some documents."""
        executions = {document_execution_id(self._batch_id, name): name for name in document_ids}
        rows = self._rows(select(WorkflowExecution.__table__).where(WorkflowExecution.id.in_(executions)))
        owners = {executions[row.id]: _inside(row.input, "retryOwner") for row in rows}
        attempts = self._attempts(executions)
        made = Counter(record["document_id"] for record in attempts)
        records: dict[str, Records] = {
            "requests": self._requests(document_ids),
            "events": self._events(document_ids),
            "document_rows": [_row(row, document_id=executions[row.id]) for row in rows],
            "activity_rows": attempts,
            "mention_rows": self._mentions(document_ids),
        }
        outcomes = self._of_batch(select(DocumentOutcome.__table__), DocumentOutcome)
        for row in self._rows(outcomes.where(DocumentOutcome.document_id.in_(document_ids)).order_by(DocumentOutcome.position)):
            document = {**_outcome(row), "attempts": made[row.document_id], "owner": owners.get(row.document_id)}
            records.setdefault("documents", []).append(document)
            graph = {name: _items(row.extraction, name) for name in ("entities", "relations")}
            for name, key in (("entities", "entity_id"), ("relations", "relation_id")):
                records.setdefault(name, []).extend(_item(row.document_id, key, *each) for each in enumerate(graph[name]))
            self._sums.update({str(row.outcome): 1, **{name: len(items) for name, items in graph.items()}})
        return frames(records)

    def batch(self) -> Frames:
        """The frames of the batch as a whole; to be asked for after those of its documents, which it has to add up to."""
        told = self._told()
        return frames(
            {
                "batch": self._batch(told),
                "events": _steps(BATCH_LEVEL, told),
                "batch_rows": self._batch_rows(),
                "lookup": self._lookup(told),
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
            for row in self._rows(query)
        ]

    def _attempts(self, executions: Mapping[str, str]) -> Records:
        rows = self._rows(select(WorkflowActivity.__table__).where(WorkflowActivity.execution_id.in_(executions)))
        last: dict[str, int] = {}
        for row in rows:
            last[row.execution_id] = max(_generation(row), last.get(row.execution_id, 0))
        return [
            {
                **_row(row, document_id=executions[row.execution_id]),
                "input": _plain(_without(row.input, "generation")),
                "has_duration": row.duration_ms is not None,
            }
            for row in rows
            # What a killed process left behind is no attempt.
            if not self._resumed or (_generation(row) == last[row.execution_id] and row.status != SKIPPED)
        ]

    def _mentions(self, document_ids: Sequence[str]) -> Records:
        extractions = {extraction_id(self._batch_id, name): name for name in document_ids}
        rows = self._rows(select(MentionRecord.__table__).where(MentionRecord.extraction_id.in_(extractions)))
        return [_row(row, document_id=extractions[row.extraction_id], mention=row.id) for row in rows]

    def _events(self, document_ids: Sequence[str]) -> Records:
        query = self._of_batch(select(BatchEventRow.document_id, BatchEventRow.payload), BatchEventRow)
        query = query.where(BatchEventRow.document_id.in_(document_ids), BatchEventRow.superseded.is_(False))
        query = query.where(BatchEventRow.key.not_like(f"{PROGRESS}%"))
        sequences: dict[str, list[Any]] = {}
        for document_id, payload in self._rows(query.order_by(BatchEventRow.sequence)):
            sequences.setdefault(document_id, []).append(_said(payload))
        return [record for document_id, steps in sequences.items() for record in _steps(document_id, steps)]

    # --- The batch ------------------------------------------------------------------------------------------------------

    def _told(self) -> list[Any]:
        """The batch's own events; what is told of documents between two of them is one step, since their order is free."""
        events = self._of_batch(select(BatchEventRow.sequence, BatchEventRow.payload), BatchEventRow)
        own = events.where(BatchEventRow.document_id.is_(None), BatchEventRow.superseded.is_(False))
        theirs = self._of_batch(select(BatchEventRow.sequence), BatchEventRow)
        theirs = theirs.where(BatchEventRow.document_id.is_not(None), BatchEventRow.superseded.is_(False))
        places = [row.sequence for row in self._rows(theirs.order_by(BatchEventRow.sequence))]
        steps: list[Any] = []
        before = 0
        for sequence, payload in self._rows(own.order_by(BatchEventRow.sequence)):
            here = bisect_left(places, sequence)
            steps += [_DOCUMENTS] * (here > before) + [_said(payload)]
            before = here
        return steps + [_DOCUMENTS] * (len(places) > before)

    def _batch(self, told: Sequence[Any]) -> Records:
        rows = self._rows(select(BatchExecution.__table__).where(BatchExecution.id == self._batch_id))
        terminal = told[-1] if told else None
        state, payload = self._state()
        return [
            {
                "batch_id": self._batch_id,
                "total_documents": self._sums["succeeded"] + self._sums["failed"],
                "success_count": self._sums["succeeded"],
                "failure_count": self._sums["failed"],
                "entity_count": row.entity_count,
                "relation_count": row.relation_count,
                "terminal_event": _inside(terminal, "_tag"),
                "terminal_payload": _plain(terminal),
                "state": state,
                "state_payload": payload,
                "adds_up": self._adds_up(row, terminal),
            }
            for row in rows
        ]

    def _adds_up(self, row: Any, terminal: Any) -> bool | str:
        """Whether what is said of the batch is what its documents come to: noise of documents may move both, not one."""
        sums = self._sums
        counted = {
            "completed_documents": (row.completed_documents, sums["succeeded"]),
            "failed_documents": (row.failed_documents, sums["failed"]),
            "entity_count": (row.entity_count, sums["entities"]),
            "relation_count": (row.relation_count, sums["relations"]),
        }
        if _inside(terminal, "_tag") == "BatchEvent.BatchCompleted":
            whole = {"totalDocuments": sums["succeeded"] + sums["failed"]}
            whole |= {"entityCount": sums["entities"], "relationCount": sums["relations"]}
            counted |= {f"BatchCompleted {key}": (terminal.get(key), count) for key, count in whole.items()}
        wrong = [f"{name} {said} of documents with {count}" for name, (said, count) in counted.items() if said != count]
        return "; ".join(wrong) or True

    def _state(self) -> tuple[str | None, Any]:
        try:
            state = self._store.state(self._batch_id)
        except BatchNotFoundError:
            return None, None
        except ValueError as error:
            return "unreadable", str(error)
        return type(state).__name__, _plain(state.model_dump(mode="json"))

    def _batch_rows(self) -> Records:
        """The batch's rows as an old reader asks for them."""
        asked = select(WorkflowExecution.__table__).where(
            WorkflowExecution.workflow_type == "batch_extraction",
            WorkflowExecution.input["batchId"].as_string() == self._batch_id,
        )
        own = select(BatchExecution.__table__).where(BatchExecution.id == self._batch_id)
        generations = self._rows(self._of_batch(select(BatchRun.generation), BatchRun))
        resumed = generations[0].generation if generations and self._resumed else 0
        workflow = [
            {
                **_row(row, table="knowledge_workflow_execution"),
                # Which runtime served is what the row is meant to say differently, and how often the batch was resumed is
                # its operator's doing.
                "input": _plain(_without(row.input, "executionMode")),
                "retry_count": row.retry_count - resumed,
            }
            for row in self._rows(asked)
        ]
        return [*workflow, *(_row(row, table="knowledge_batch_execution") for row in self._rows(own))]

    def _lookup(self, told: Sequence[Any]) -> Records:
        """What another process finds of an ended batch, which knows nothing but its id (R4)."""
        runs = self._rows(self._of_batch(select(BatchRun.__table__), BatchRun))
        if not runs:
            return []
        run = runs[0]
        results = self._of_batch(select(DocumentOutcome.document_id), DocumentOutcome)
        results = results.where(DocumentOutcome.outcome.is_not(None)).order_by(DocumentOutcome.position)
        tags = [_inside(step, "_tag") for step in told]
        asked = select(func.count()).select_from(BatchDocument).where(BatchDocument.batch_id == self._batch_id)
        answers = {
            "is it the same request": run.params_hash,
            "whose is it": run.organization_id,
            "by which ontology": run.ontology_id,
            "is it free": run.owner is None,
            "was its end asked for": run.cancel_requested_at is not None,
            "has it ended": self._has_ended(),
            "how many documents came in": self._rows(asked)[0][0],
            "documents in the result": _plain([row.document_id for row in self._rows(results)]),
            "are its events there from the first to the last": bool(tags) and (tags[0], tags[-1] in _LAST) == (_FIRST, True),
        }
        return [{"question": question, "answer": answer} for question, answer in answers.items()]

    def _has_ended(self) -> bool:
        try:
            return self._store.has_ended(self._batch_id)
        except BatchNotFoundError:
            return False

    def _of_batch(self, query: Select[Any], table: Any) -> Select[Any]:
        return query.where(table.batch_id == self._batch_id)

    def _rows(self, query: Select[Any]) -> Sequence[Any]:
        with self._store.database.read() as connection:
            return connection.execute(query).all()


_DOCUMENTS: Mapping[str, str] = {"_tag": "documents"}
_FIRST = "BatchEvent.BatchCreated"
_LAST = ("BatchEvent.BatchCompleted", "BatchEvent.BatchFailed")
# What two runs of one batch never share: ids of rows, moments, durations. That a moment is set, and that it does not lie
# before the one that it follows, is compared.
_MOMENTS = ("started_at", "completed_at", "ended_at", "extracted_at")
_OWN = ("id", "execution_id", "created_at", "updated_at", "duration_ms", *_MOMENTS)


def _plain(value: Any) -> Any:
    """A value that can be compared and shown: JSON for what is nested."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False) if isinstance(value, dict | list | tuple) else value


def _inside(value: Any, key: str) -> Any:
    """What a JSON object has under a key; None where it has none, or is no object."""
    return value.get(key) if isinstance(value, Mapping) else None


def _without(value: Any, *left_out: str) -> Any:
    """A JSON object but for some of its keys; what is no object as it is."""
    if not isinstance(value, Mapping):
        return value
    return {name: each for name, each in value.items() if name not in left_out}


def _generation(row: Any) -> int:
    found = _inside(row.input, "generation")
    return found if isinstance(found, int) else 0


def _row(row: Any, **keys: Any) -> dict[str, Any]:
    """A row's values but for those that are its own, under the keys by which it is found on the other side."""
    values = dict(row._mapping)
    return {**keys, **{name: _plain(value) for name, value in values.items() if name not in _OWN}, **_moments(values)}


def _moments(values: Mapping[str, Any]) -> dict[str, bool]:
    there = {name: values[name] for name in _MOMENTS if name in values}
    ends = [there.get(name) for name in ("completed_at", "ended_at") if there.get(name)]
    begun = there.get("started_at")
    return {
        **{f"has_{name}": moment is not None for name, moment in there.items()},
        "ends_after_it_starts": all(begun is None or begun <= end for end in ends),
    }


def _said(payload: Any) -> Any:
    """An event but for its batch and its moment."""
    return _without(payload, "timestamp", "batchId")


def _steps(document_id: str, steps: Sequence[Any]) -> Records:
    return [
        {"document_id": document_id, "place": place, "event": _inside(step, "_tag"), "payload": _plain(step)}
        for place, step in enumerate(steps)
    ]


def _outcome(row: Any) -> dict[str, Any]:
    failed = row.outcome == "failed"
    error = ("error_class", "error_message", "error_terminal", "error_args")
    return {
        "document_id": row.document_id,
        "position": row.position,
        "outcome": row.outcome,
        "counted_attempts": row.attempts,
        # An error that a later attempt made good is the activity's row's to tell.
        **{name: _plain(row._mapping[name]) if failed else None for name in error},
        **_moments(row._mapping),
        **_extraction(row.extraction),
    }


def _extraction(extraction: Any) -> dict[str, Any]:
    """All of an extraction, a column a value, but for its entities and relations and the time that it took."""
    if not isinstance(extraction, Mapping):
        return {"extraction": _plain(extraction)}
    found: dict[str, Any] = {}
    for part, values in extraction.items():
        if not isinstance(values, Mapping):
            found[part] = _plain(values)
            continue
        left_out = {"graph": ("entities", "relations"), "stats": ("durationMs",)}.get(part, ())
        found |= {f"{part}.{name}": _plain(value) for name, value in values.items() if name not in left_out}
    return found


def _items(extraction: Any, kind: str) -> list[Any]:
    items = _inside(_inside(extraction, "graph"), kind)
    return items if isinstance(items, list) else []


def _item(document_id: str, key: str, position: int, item: Any) -> dict[str, Any]:
    values = item if isinstance(item, Mapping) else {"value": item}
    said = {name: _plain(value) for name, value in values.items() if name != "id"}
    return {"document_id": document_id, key: values.get("id"), "position": position, **said}
