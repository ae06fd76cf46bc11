"""One side of a comparison as pandas frames: all that callers, old readers and subscribers can see of a batch."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from sqlalchemy import select

from compat.reader import BLOCK, Reader, document_execution_id, extraction_id, run_query
from compat.schema import (
    BatchDocument,
    BatchEventRow,
    BatchExecution,
    DocumentOutcome,
    MentionRecord,
    WorkflowActivity,
    WorkflowExecution,
)

# Key columns by frame. `rows` has no numbering of its own: an old reader's key is what it looks a row up by.
KEYS: Mapping[str, tuple[str, ...]] = {
    "batch": ("batch_id",),
    "documents": ("document_id",),
    "entities": ("document_id", "entity_id"),
    "relations": ("document_id", "relation_id"),
    "events": ("document_id", "place"),
    "batch_rows": ("table",),
    "document_rows": ("document_id",),
    "activity_rows": ("document_id", "attempt"),
    "mention_rows": ("document_id", "mention"),
    "lookup": ("question",),
}
BATCH_LEVEL = ""


@dataclass(frozen=True)
class Side:
    """The frames of one side by name, and how much there is behind them."""

    frames: Mapping[str, pd.DataFrame]
    documents: int
    attempts: int


def frames_of(reader: Reader, batch_id: str) -> Side:
    """Reads one side. Raises BatchNotFoundError."""
    attempts = list(reader.attempts(batch_id))
    documents = _documents(reader, batch_id)
    entities, relations = _graphs(reader, batch_id)
    rows = _rows(reader, batch_id)
    records: dict[str, list[dict[str, Any]]] = {
        "batch": _batch(reader, batch_id),
        "documents": documents,
        "entities": entities,
        "relations": relations,
        "events": _events(reader, batch_id),
        **rows,
        "lookup": _lookup(reader, batch_id),
    }
    # The last generation is what the outcome came of; those before a resume are history.
    made = {each.document_id: len(each.by_generation().get(each.generation, ())) for each in attempts}
    owners = {each.document_id: each.owner for each in attempts}
    for document in documents:
        document["attempts"] = made.get(document["document_id"], 0)
        document["owner"] = owners.get(document["document_id"])
    return Side({name: _frame(name, found) for name, found in records.items()}, len(documents), sum(made.values()))


def _frame(name: str, records: list[dict[str, Any]]) -> pd.DataFrame:
    # Objects throughout: pandas would make floats of counts where one is missing, and then 3 is 3.0.
    return pd.DataFrame(records, columns=None if records else list(KEYS[name]), dtype=object)


# The side of somebody who has never heard of the batch.
NOTHING = Side({name: _frame(name, []) for name in KEYS}, 0, 0)


def _plain(value: Any) -> Any:
    """A value that can be compared and shown: JSON for what is nested."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False) if isinstance(value, dict | list | tuple) else value


def _batch(reader: Reader, batch_id: str) -> list[dict[str, Any]]:
    state, result = reader.state(batch_id), reader.result(batch_id)
    told = _told(reader, batch_id)
    return [
        {
            "batch_id": batch_id,
            "total_documents": result.total_documents,
            "success_count": result.success_count,
            "failure_count": result.failure_count,
            "entity_count": result.entity_count,
            "relation_count": result.relation_count,
            "terminal_event": _plain(told[-1][1]) if told else None,
            "state": type(state).__name__,
            "state_payload": _plain(state.model_dump(mode="json")),
        }
    ]


def _documents(reader: Reader, batch_id: str) -> list[dict[str, Any]]:
    query = select(DocumentOutcome).where(DocumentOutcome.batch_id == batch_id).order_by(DocumentOutcome.position)
    with reader.database.read() as connection:
        rows = connection.execute(query).all()
    return [
        {
            "document_id": row.document_id,
            "position": row.position,
            "outcome": row.outcome,
            "error_class": row.error_class if row.outcome == "failed" else None,
            "error": row.error_message if row.outcome == "failed" else None,
            "error_terminal": row.error_terminal if row.outcome == "failed" else None,
            "counted_attempts": row.attempts,
            **{
                f"{name}": (row.extraction or {}).get("stats", {}).get(key)
                for name, key in (
                    ("entity_count", "entityCount"),
                    ("relation_count", "relationCount"),
                    ("mention_count", "mentionCount"),
                    ("chunk_count", "chunkCount"),
                )
            },
            "entity_index": _plain(((row.extraction or {}).get("graph") or {}).get("entityIndex")),
        }
        for row in rows
    ]


def _graphs(reader: Reader, batch_id: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    entities: list[dict[str, Any]] = []
    relations: list[dict[str, Any]] = []
    for extraction in reader.extractions(batch_id):
        for kind, found in (("entity", extraction.result.graph.entities), ("relation", extraction.result.graph.relations)):
            records = entities if kind == "entity" else relations
            for item in found:
                values = {name: _plain(value) for name, value in item.model_dump(mode="json", by_alias=False).items()}
                records.append({"document_id": extraction.document_id, f"{kind}_id": values.pop("id"), **values})
    return entities, relations


def _told(reader: Reader, batch_id: str) -> list[tuple[str | None, dict[str, Any]]]:
    """The events as they are stored: one that says what no event says is to be found here, not to stop the comparison."""
    query = (
        select(BatchEventRow.document_id, BatchEventRow.payload)
        .where(BatchEventRow.batch_id == batch_id, BatchEventRow.superseded.is_(False))
        .order_by(BatchEventRow.sequence)
    )
    with reader.database.read() as connection:
        return [
            (document_id, {name: value for name, value in payload.items() if name not in ("timestamp", "batchId")})
            for document_id, payload in connection.execute(query).tuples()
        ]


def _events(reader: Reader, batch_id: str) -> list[dict[str, Any]]:
    """The sequence of each document, and the batch's own, in which documents are one step: between documents order is free."""
    sequences: dict[str, list[dict[str, Any]]] = {BATCH_LEVEL: []}
    for document_id, payload in _told(reader, batch_id):
        if document_id is not None:
            sequences.setdefault(document_id, []).append(payload)
        step = {"_tag": "documents"} if document_id is not None else payload
        if not (sequences[BATCH_LEVEL] and sequences[BATCH_LEVEL][-1] == step):
            sequences[BATCH_LEVEL].append(step)
    return [
        {"document_id": document_id, "place": place, "event": step["_tag"], "payload": _plain(step)}
        for document_id, steps in sequences.items()
        for place, step in enumerate(steps)
    ]


# What two runs of one batch never share: ids of rows, moments, durations. That a moment is set is compared.
_MOMENTS = ("started_at", "completed_at", "extracted_at")
_OWN = ("id", "execution_id", "created_at", "updated_at", "duration_ms", "response_hash", *_MOMENTS)


def _row(row: Any, **keys: Any) -> dict[str, Any]:
    values = dict(row._mapping)
    said = {name: _plain(value) for name, value in values.items() if name not in _OWN}
    return {**keys, **said, **{f"has_{name}": values[name] is not None for name in _MOMENTS if name in values}}


def _rows(reader: Reader, batch_id: str) -> dict[str, list[dict[str, Any]]]:
    """The four old tables as an old reader meets them: the batch by its id, documents and attempts by their execution."""
    by_batch = select(WorkflowExecution.__table__).where(
        WorkflowExecution.workflow_type == "batch_extraction", WorkflowExecution.input["batchId"].as_string() == batch_id
    )
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in KEYS if name.endswith("_rows")}
    with reader.database.read() as connection:
        resumed = connection.execute(run_query(batch_id)).one().generation
        for row in connection.execute(by_batch):
            found["batch_rows"].append(_batch_row(row, "knowledge_workflow_execution", resumed))
        batch = select(BatchExecution.__table__).where(BatchExecution.id == batch_id)
        for row in connection.execute(batch):
            found["batch_rows"].append(_batch_row(row, "knowledge_batch_execution", resumed))
        query = select(BatchDocument.document_id).where(BatchDocument.batch_id == batch_id).order_by(BatchDocument.position)
        documents = connection.execute(query).scalars().all()
        for start in range(0, len(documents), BLOCK):
            block = documents[start : start + BLOCK]
            executions = {document_execution_id(batch_id, document_id): document_id for document_id in block}
            extractions = {extraction_id(batch_id, document_id): document_id for document_id in block}
            workflow = select(WorkflowExecution.__table__).where(WorkflowExecution.id.in_(executions))
            for row in connection.execute(workflow):
                found["document_rows"].append(_row(row, document_id=executions[row.id]))
            activity = select(WorkflowActivity.__table__).where(WorkflowActivity.execution_id.in_(executions))
            rows = [(executions[row.execution_id], row) for row in connection.execute(activity)]
            last: dict[str, int] = {}
            for document_id, row in rows:
                last[document_id] = max(row.input["generation"], last.get(document_id, 0))
            for document_id, row in rows:
                if row.input["generation"] == last[document_id]:
                    found["activity_rows"].append(_activity_row(row, document_id))
            mentions = select(MentionRecord.__table__).where(MentionRecord.extraction_id.in_(extractions))
            for row in connection.execute(mentions):
                found["mention_rows"].append(_row(row, document_id=extractions[row.extraction_id], mention=row.id))
    return found


def _batch_row(row: Any, table: str, resumed: int) -> dict[str, Any]:
    values = _row(row, table=table)
    if table == "knowledge_workflow_execution":
        # Which runtime served is what the row is meant to say differently, and how often the batch was resumed is its
        # operator's doing: a shadow is never resumed.
        values["input"] = _plain({name: value for name, value in row.input.items() if name != "executionMode"})
        values["retry_count"] = row.retry_count - resumed
    return values


def _activity_row(row: Any, document_id: str) -> dict[str, Any]:
    values = _row(row, document_id=document_id)
    values["input"] = _plain({name: value for name, value in row.input.items() if name != "generation"})
    return values


def _lookup(reader: Reader, batch_id: str) -> list[dict[str, Any]]:
    """What another process finds of an ended batch, which knows nothing but its id (R4)."""
    with reader.database.read() as connection:
        run = connection.execute(run_query(batch_id)).one()
        inputs = connection.execute(
            select(BatchDocument.position, BatchDocument.document_id, BatchDocument.content_hash, BatchDocument.ontology_hash)
            .where(BatchDocument.batch_id == batch_id)
            .order_by(BatchDocument.position)
        ).all()
    answers = {
        "is it the same request": run.params_hash,
        "is it free": run.owner is None,
        "has it ended": reader.has_ended(batch_id),
        "documents as they came in": _plain(_tally(tuple(row) for row in inputs)),
        "documents in the result": _plain([item.document_id for item in reader.result(batch_id).document_results]),
        "events from the first on": len(_told(reader, batch_id)),
    }
    return [{"question": question, "answer": answer} for question, answer in answers.items()]


def _tally(items: Iterable[tuple[Any, ...]]) -> list[list[Any]]:
    return [[*item, times] for item, times in sorted(Counter(items).items())]
