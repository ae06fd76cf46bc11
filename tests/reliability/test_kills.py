"""kill -9 in the middle of a batch: resumed, it comes to what an undisturbed one comes to."""

import json
import random
import signal
import time
from collections import Counter
from typing import Any

import processes
import pytest
from sqlalchemy import func, select, text

import faults
import flows
from compat.store import Store
from compat.store.schema import BatchExecution, MentionRecord, WorkflowActivity, WorkflowExecution

DOCUMENTS, CONCURRENCY = 40, 4
SEEDS = [pytest.param(seed, marks=[] if seed < 2 else [pytest.mark.slow]) for seed in range(20)]


def documents() -> list[dict[str, str]]:
    return [
        faults.document(f"k{number:02}", names=(f"name {number}", "Shared Name"), seconds=0.01) for number in range(DOCUMENTS)
    ]


def expire(store: Store) -> None:
    """What a minute without a heartbeat does."""
    with store.database.write() as connection:
        connection.execute(text("UPDATE knowledge_batch_run SET heartbeat_at = '2000-01-01 00:00:00'"))


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mode", ["legacy", "engine"])
def test_a_killed_batch_is_resumed_to_the_undisturbed_result(
    mode: str, seed: int, environment: pytest.MonkeyPatch, request_of: Any
) -> None:
    from prefect.settings import PREFECT_API_URL

    chance = random.Random(seed)  # noqa: S311 -- a seeded point, no secret
    child = processes.start(
        processes.RUN,
        mode,
        request=json.dumps(request_of(documents(), batch_id="killed", concurrency=CONCURRENCY)),
        PREFECT_API_URL=PREFECT_API_URL.value() or "",
    )
    point = chance.randrange(1, DOCUMENTS)
    processes.wait_until(lambda: sum(faults.knocks().values()) >= point or child.poll() is not None)
    time.sleep(chance.uniform(0, 0.02))
    child.send_signal(signal.SIGKILL)
    child.communicate()
    store = Store.from_settings()
    before = faults.knocks()
    if not store.has_ended("killed"):
        done = {item.document_id for item in store.result("killed").document_results}
        expire(store)
        assert type(flows.get_status("killed")).__name__ == "Failed"
        # Resumed by another process than the one that began, in the other mode every other time.
        flows.resume_batch("killed", mode if seed % 2 else {"legacy": "engine", "engine": "legacy"}[mode])
        again = faults.knocks() - before
        assert not done & set(again), "a document with an outcome ran again"
    twice = [document for document, times in faults.knocks().items() if times > 1]
    assert len(twice) <= CONCURRENCY
    assert max(faults.knocks().values()) <= 2
    result = store.result("killed")
    assert [item.document_id for item in result.document_results] == [document["documentId"] for document in documents()]
    assert (result.success_count, result.entity_count, result.relation_count) == (DOCUMENTS, 2 * DOCUMENTS, DOCUMENTS)
    assert type(flows.get_status("killed")).__name__ == "Completed"
    told = Counter(type(event).__name__ for event in flows.subscribe("killed"))
    assert told == {
        "BatchCreated": 1, "DocumentStarted": DOCUMENTS, "DocumentCompleted": DOCUMENTS,
        "ResolutionStarted": 1, "ResolutionCompleted": 1, "BatchCompleted": 1,
    }  # fmt: skip
    with store.database.read() as connection:

        def count(table: Any, *conditions: Any) -> int:
            return int(connection.execute(select(func.count()).select_from(table).where(*conditions)).scalar_one())

        assert count(BatchExecution) == 1
        assert count(WorkflowExecution, WorkflowExecution.workflow_type == "batch_extraction") == 1
        assert count(WorkflowExecution, WorkflowExecution.workflow_type == "extraction") == DOCUMENTS
        assert count(WorkflowActivity) == count(WorkflowActivity, WorkflowActivity.status == "completed") == DOCUMENTS
        assert count(MentionRecord) == 2 * DOCUMENTS
        counts = connection.execute(select(BatchExecution.completed_documents, BatchExecution.entity_count)).one()
    assert tuple(counts) == (DOCUMENTS, 2 * DOCUMENTS)
