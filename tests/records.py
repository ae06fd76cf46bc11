"""A batch's record for tests that have no database."""

from datetime import UTC, datetime
from typing import Any

from compat.store import BatchRecord

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def record(**values: Any) -> BatchRecord:
    """A running batch of three documents, nothing done yet, but for what ``values`` say."""
    usual: dict[str, Any] = {
        "batch_id": "b 1",
        "organization_id": "org",
        "ontology_id": "ontology",
        "params_hash": "hash",
        "execution_id": "knowledge_workflow_execution__1",
        "mode": "engine",
        "mode_reason": "asked for by the caller",
        "rolled_back_from": None,
        "generation": 0,
        "holder_token": "token",
        "flow_run_id": None,
        "cancel_requested": False,
        "status": "running",
        "error": None,
        "total_documents": 3,
        "completed_documents": 0,
        "failed_documents": 0,
        "entity_count": 0,
        "relation_count": 0,
        "resolving": False,
        "resolved": False,
        "resolution_error": None,
        "stored_config": {},
        "row_input": {},
        "created_at": NOW,
        "started_at": NOW,
        "completed_at": None,
        "read_at": NOW,
        "heartbeat_at": NOW,
        "lease_seconds": 60.0,
    }
    return BatchRecord(**{**usual, **values})
