"""All that callers, old readers and subscribers can see of a batch, in a form that two runs of it share."""

from collections import defaultdict
from typing import Any

from sqlalchemy import select

from compat.contracts import BatchResult
from compat.ids import document_execution_id
from compat.store import Store, events
from compat.store.schema import BatchExecution, DocumentOutcome, MentionRecord, WorkflowActivity, WorkflowExecution
from faults import knocks

# What differs between any two runs: when, how long, and the ids of this batch.
_MOMENTS = {"created_at", "updated_at", "started_at", "completed_at", "extracted_at", "duration_ms"}
_IDS = {"id", "execution_id", "extraction_id"}


def observe(result: BatchResult) -> dict[str, Any]:
    """Result, events, attempts, rows and state of a batch that has ended."""
    store = Store.from_settings()
    batch_id = result.batch_id
    told = [event.model_dump(mode="json") for _, event in events.stored_events(store.database, batch_id)]
    per_document: dict[str, list[Any]] = defaultdict(list)
    of_batch = []
    for event in told:
        event.pop("timestamp")
        event.pop("batchId")
        event["_tag"] = event["_tag"].removeprefix("BatchEvent.")
        if "documentId" in event:
            per_document[event.pop("documentId")].append(event)
            if of_batch[-1] != "documents":
                of_batch.append("documents")
        else:
            of_batch.append(event)
    state = store.state(batch_id).model_dump(mode="json")
    state.pop("batchId")
    seen = result.model_dump(mode="json")
    seen.pop("batchId")
    for item in seen["documentResults"]:
        if item["result"]["ok"]:
            graph = item["result"]["extraction"]["graph"]
            item["result"] = {
                "ok": True,
                "entities": [e["mention"] for e in graph["entities"]],
                "relations": len(graph["relations"]),
            }
    return {
        "result": seen,
        "state": state,
        "batchEvents": of_batch,
        "documentEvents": dict(sorted(per_document.items())),
        "attempts": dict(sorted(knocks().items())),
        "rows": rows(store, batch_id),
    }


def rows(store: Store, batch_id: str) -> dict[str, Any]:
    """The old tables as far as they tell of this batch, without moments and ids."""
    with store.database.read() as connection:

        def read(query: Any) -> list[dict[str, Any]]:
            return [
                {key: value for key, value in row.items() if key not in _MOMENTS | _IDS and value is not None}
                for row in connection.execute(query).mappings()
            ]

        documents = connection.execute(
            select(DocumentOutcome.document_id).where(DocumentOutcome.batch_id == batch_id).order_by(DocumentOutcome.position)
        ).scalars()
        executions = {document: document_execution_id(batch_id, document) for document in documents}
        workflow = read(select(WorkflowExecution).where(WorkflowExecution.input["batchId"].as_string() == batch_id))
        batch = read(select(BatchExecution).where(BatchExecution.id == batch_id))
        for row in workflow:
            for part in ("input", "output"):
                row[part].pop("batchId")
        found = {
            "workflow": workflow,
            "batch": batch,
            "documents": {
                document: read(select(WorkflowExecution).where(WorkflowExecution.id == execution))
                for document, execution in executions.items()
            },
            "activities": {
                document: read(
                    select(WorkflowActivity).where(WorkflowActivity.execution_id == execution).order_by(WorkflowActivity.attempt)
                )
                for document, execution in executions.items()
            },
        }
        mentions = connection.execute(
            select(MentionRecord.document_id, MentionRecord.raw_text, MentionRecord.resolved_entity_id.is_not(None)).order_by(
                MentionRecord.document_id, MentionRecord.raw_text
            )
        )
        found["mentions"] = [list(row) for row in mentions]
    return found
