"""The old system's readers, frozen: their queries as they were written (CONTRACT 8), and what they expect to find.

Plain SQL on purpose: a reader that shares no code with us finds out what a changed table or status does to readers that
nobody may change. Only a change of the contract changes this module.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

BATCH = """
SELECT id, organization_id, status, input, output, error, started_at, completed_at, last_activity_name, retry_count
FROM knowledge_workflow_execution
WHERE workflow_type = 'batch_extraction' AND input->>'batchId' = :batch_id
ORDER BY created_at DESC LIMIT 1
"""
COUNTS = """
SELECT status, total_documents, completed_documents, failed_documents, entity_count, relation_count, document_ids, error
FROM knowledge_batch_execution WHERE id = :batch_id
"""
DOCUMENTS = """
SELECT id, status, input, output, error FROM knowledge_workflow_execution
WHERE workflow_type = 'extraction' AND organization_id = :organization_id AND input->>'documentId' IN :document_ids
"""
ATTEMPTS = """
SELECT activity_name, status, attempt, started_at, completed_at, duration_ms
FROM knowledge_workflow_activity WHERE execution_id = :execution_id ORDER BY created_at, attempt
"""
COUNT_BY_STATUS = """
SELECT status, count(*) FROM knowledge_workflow_execution WHERE workflow_type = 'batch_extraction' GROUP BY status
"""
MENTIONS = "SELECT raw_text, confidence, resolved_entity_id FROM knowledge_mention_record WHERE document_id = :document_id"

STATUSES = ("pending", "running", "completed", "failed", "cancelled")
ATTEMPT_STATUSES = ("pending", "running", "completed", "failed", "skipped")
TERMINAL = ("completed", "failed", "cancelled")
INPUT = {"batchId", "totalDocuments", "concurrency", "failurePolicy", "executionMode"}
OUTPUT = {"batchId", "totalDocuments", "successCount", "failureCount", "entityCount", "relationCount"}


@dataclass(frozen=True)
class OldView:
    """A batch as an old reader sees it. ``row`` is None where it finds none."""

    batch_id: str
    row: Mapping[str, Any] | None
    counts: Mapping[str, Any] | None

    @property
    def status(self) -> str | None:
        """The status that it is told."""
        return self.row["status"] if self.row else None


def look(connection: Connection, batch_id: str) -> OldView:
    """Return a batch as an old reader who knows its id sees it."""
    row = connection.execute(text(BATCH), {"batch_id": batch_id}).mappings().first()
    counts = connection.execute(text(COUNTS), {"batch_id": batch_id}).mappings().first()
    return OldView(batch_id, _read(row), _read(counts))


def wrong(view: OldView) -> list[str]:
    """Return what an old reader would find wrong with what it sees."""
    if view.row is None or view.counts is None:
        return ["no row is found by its id"]
    row, counts = view.row, view.counts
    found = [] if row["status"] in STATUSES else [f"status {row['status']!r} is unknown"]
    if row["status"] != counts["status"]:
        found.append(f"one table says {row['status']}, the other {counts['status']}")
    if missing := INPUT - set(row["input"]):
        found.append(f"its input lacks {sorted(missing)}")
    if len(counts["document_ids"]) != counts["total_documents"]:
        found.append(f"{len(counts['document_ids'])} document ids of {counts['total_documents']}")
    if row["status"] in ("completed", "failed"):
        found += _wrong_output(row, counts)
    if row["status"] in TERMINAL and row["completed_at"] is None:
        found.append("it has ended at no time")
    if row["status"] == "running" and row["started_at"] is None:
        found.append("it runs and has not started")
    return found


def went_back(before: str | None, now: str | None) -> bool:
    """Return whether a status went where no old reader expects it: out of an end, or from running to pending.

    A batch that is resumed goes from failed to pending, which they know.
    """
    if before in ("completed", "cancelled"):
        return now != before
    return (before, now) in (("running", "pending"), ("running", None), ("pending", None))


def _wrong_output(row: Mapping[str, Any], counts: Mapping[str, Any]) -> list[str]:
    output = row["output"]
    if output is None or set(output) != OUTPUT:
        return [f"its output has {sorted(output or ())}"]
    said = (output["successCount"], output["failureCount"], output["entityCount"], output["relationCount"])
    stored = tuple(counts[name] for name in ("completed_documents", "failed_documents", "entity_count", "relation_count"))
    wrong = [] if said == stored else [f"its output says {said}, its counts {stored}"]
    if output["totalDocuments"] != said[0] + said[1]:
        wrong.append(f"its output has {output['totalDocuments']} documents, {said[0] + said[1]} with an outcome")
    return wrong


def _read(row: Any) -> Mapping[str, Any] | None:
    """Return a row with its JSON read: SQLite gives it as text."""
    if row is None:
        return None
    parsed = ("input", "output", "document_ids")
    return {name: json.loads(value) if name in parsed and isinstance(value, str) else value for name, value in row.items()}
