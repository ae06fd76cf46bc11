"""The demotion that fires by itself: each trigger by the check that fires it, one write, what is in work, and who is told."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import processes
import pytest
from sqlalchemy import delete, insert, text, update

import faults
import flows
from compat.contracts import utc_now
from compat.cutover import checks, record
from compat.cutover.triggers import TRIGGERS, findings_of, fired
from compat.ids import document_execution_id
from compat.modes import Mode
from compat.parity import archive
from compat.store import Store, shadow_requests
from compat.store.schema import (
    BatchEventRow,
    BatchExecution,
    BatchRun,
    DocumentOutcome,
    WorkflowActivity,
    WorkflowExecution,
)
from flows import watch
from flows.operations.reconcile import reconcile_batches
from flows.shadow.comparison import run_shadow

Change = Callable[[], Any]
COMPLETED = "BatchEvent.DocumentCompleted"


def second_attempt() -> Any:
    row = {"id": "x", "organization_id": "org", "execution_id": document_execution_id("b", "a"), "attempt": 1}
    whole = {"activity_name": "run_extraction_pipeline", "status": "completed", "input": {"generation": 0}}
    return insert(WorkflowActivity).values({**row, **whole, "created_at": utc_now(), "updated_at": utc_now()})


# What is changed in the rows of a batch that was good, and which trigger's check has to see it.
FAULTS: list[tuple[str, Change]] = [
    ("policy-outcome", lambda: update(BatchExecution).values(failed_documents=1)),
    ("policy-outcome", lambda: update(DocumentOutcome).values(outcome="failed")),
    ("second-owner", second_attempt),
    ("second-owner", lambda: update(WorkflowExecution).values(input={"retryOwner": "orchestrator"})),
    ("status", lambda: update(WorkflowExecution).where(WorkflowExecution.workflow_type == "extraction").values(status="running")),
    ("status", lambda: update(WorkflowExecution).where(WorkflowExecution.id == batch().execution_id).values(status="running")),
    ("lookup", lambda: update(WorkflowExecution).values(input={"batchId": "another"})),
    ("lookup", lambda: update(WorkflowExecution).values(workflow_type="batch_extraction", input={"batchId": "b"})),
    ("event-drift", lambda: delete(BatchEventRow).where(BatchEventRow.key == "created")),
    (
        "event-drift",
        lambda: delete(BatchEventRow).where(BatchEventRow.payload["_tag"].as_string() == "BatchEvent.DocumentCompleted"),
    ),
    ("infrastructure", lambda: update(BatchExecution).values(status="failed", error="batch_run_dispatch failed: no API")),
    ("lost-lease", lambda: update(BatchExecution).values(status="failed", error="Interrupted: no heartbeat for 60 s")),
]


def batch() -> Any:
    return Store.from_settings().batch("b")


@pytest.fixture
def store(environment: pytest.MonkeyPatch, request_of: Any) -> Store:
    """A store with a batch that went well."""
    flows.run_batch(request_of([faults.document("a"), faults.document("b", fail=1)], "b"), "legacy")
    return Store.from_settings()


def test_a_batch_that_went_well_fires_nothing(store: Store) -> None:
    assert findings_of(checks.read(store, "b")) == {}


@pytest.mark.parametrize(("trigger", "change"), FAULTS, ids=[f"{name} {number}" for number, (name, _) in enumerate(FAULTS)])
def test_each_triggers_check_sees_its_fault(store: Store, trigger: str, change: Change) -> None:
    statement = change()
    with store.database.write() as connection:
        connection.execute(statement)
    assert trigger in findings_of(checks.read(store, "b"))


def test_every_trigger_has_a_fault_that_fires_it() -> None:
    assert {name for name, _ in FAULTS} == {trigger.name for trigger in TRIGGERS}


def test_a_trigger_fires_at_k_of_the_last_n() -> None:
    by_name = {trigger.name: trigger for trigger in TRIGGERS}
    for name, trigger in by_name.items():
        hits = [(f"b{number}", {name: "wrong"}) for number in range(trigger.hits)]
        quiet = [(f"q{number}", {}) for number in range(trigger.of)]
        assert fired([*quiet[: trigger.of - trigger.hits], *hits]) is not None
        assert fired(hits[1:]) is None
        assert fired([*quiet, *hits]) is None
    firing = fired([("new", {"infrastructure": "away"}), *[(f"b{number}", {"infrastructure": "refused"}) for number in range(2)]])
    assert firing is not None
    assert firing.reason == "infrastructure: Prefect failed (3 of the last 20 batches): away"


def test_an_engine_batch_is_checked_at_its_end_and_a_fault_sends_everyone_to_legacy(
    prefect_server: None, environment: pytest.MonkeyPatch, request_of: Any
) -> None:
    flows.set_mode("engine")
    flows.run_batch(request_of([faults.document("a")], "b"))
    store = Store.from_settings()
    assert checks.last(store.database) == [("b", {})]
    with store.database.write() as connection:
        connection.execute(second_attempt())
    watch.check_engine_batch(store, "b")
    watch.check_engine_batch(store, "b")
    flows.run_batch(request_of([faults.document("c")], "next"), "engine")
    served = store.batch("next")
    assert served.mode == "legacy"
    assert served.mode_reason.startswith("demoted: second-owner: a document was tried by a second owner of retries (batch b): ")
    # Seen twice, written once.
    [change] = record.changes(store.database, None, "demote")
    assert (change.trigger, change.details) == (
        "second-owner",
        {
            "batches": {"b": "document a: its outcome counts 1 attempts, 2 are on record"},
            "hits": 1,
            "of": 20,
            "handOver": True,
        },
    )
    told = processes.wait_until(lambda: "knowledge.mode.demoted" in event_names())
    assert told < processes.PATIENCE
    assert record.untold(store.database) == []


def event_names() -> set[str]:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        body = {"filter": {"event": {"prefix": ["knowledge.mode"]}}}
        return {event["event"] for event in client.request("POST", "/events/filter", json=body).json()["events"]}


def test_a_shadow_that_diverges_demotes_only_an_engine_that_serves(
    prefect_server: None, nobody_submits: None, request_of: Any
) -> None:
    flows.run_batch(request_of([faults.document("a")], "b"), "shadow")
    store = Store.from_settings()
    report = run_shadow(store, Store.of_shadows(), "b", "tape")
    assert report is not None
    diverged = replace(report, verdict="diverged", headline="1 differences (R4 1)", counts={**report.counts, "R4": 1})
    watch.check_shadow(store, diverged)
    assert flows.current_mode("engine").mode == "engine"
    flows.set_mode("engine", 5.0)
    watch.check_shadow(store, diverged)
    assert flows.current_mode("engine").reason.startswith("demoted: lookup: another process doesn't find the batch by its id")


def test_after_a_demotion_older_evidence_counts_neither_way(prefect_server: None, nobody_submits: None, request_of: Any) -> None:
    flows.run_batch(request_of([faults.document(f"a{number}", fail=3) for number in range(7)], "before"), "shadow")
    store, shadows = Store.from_settings(), Store.of_shadows()
    run_shadow(store, shadows, "before", "tape")

    def verdict() -> str:
        since = record.evidence_since(store.database)
        return archive.judged(store.database, shadows.database, 1, timedelta(days=7), since).verdict

    assert verdict() == "go"
    flows.demote("a test")
    assert verdict() == "not enough"
    flows.run_batch(request_of([faults.document(f"b{number}", fail=3) for number in range(7)], "after"), "shadow")
    assert store.batch("after").mode == "shadow"
    run_shadow(store, shadows, "after", "tape")
    # A submission that is repeated behind its report's back, since Prefect was slow to answer, waits for no other one.
    shadow_requests.record(store.database, "before", 0, "submitted", None, "a flow run")
    assert verdict() == "go"


@pytest.mark.parametrize("hand_over", [True, False], ids=["handed over", "drained"])
def test_what_the_engine_has_in_work_is_handed_over_or_drained(
    prefect_server: None, environment: pytest.MonkeyPatch, request_of: Any, hand_over: bool
) -> None:
    environment.setenv("KNOWLEDGE_LEASE_SECONDS", "2")
    # What goes on after a demotion goes on whatever is to happen where the engine fails.
    environment.setenv("KNOWLEDGE_WORKFLOW_ENABLE_LEGACY_ROLLBACK", "false")
    names = [f"d{number}" for number in range(4)]
    flows.start_batch(request_of([faults.document(name, held=True) for name in names], "b", concurrency=1), "engine")
    processes.wait_until(lambda: faults.knocks()["d0"] == 1)
    flows.demote("a test", hand_over)
    store = Store.from_settings()
    for _ in range(2):
        # The first heartbeat after the write may have begun before it.
        heard = store.batch("b").heartbeat_at
        processes.wait_until(lambda: store.batch("b").heartbeat_at > heard)  # noqa: B023
    faults.open_door()
    processes.wait_until(lambda: store.has_ended("b"))
    served = store.batch("b")
    assert (served.status, served.completed_documents) == ("completed", 4)
    assert faults.knocks() == dict.fromkeys(names, 1)
    assert (served.mode, served.rolled_back_from) == ((Mode.LEGACY, Mode.ENGINE) if hand_over else (Mode.ENGINE, None))
    if hand_over:
        assert served.row_input["rollbackReason"].startswith("HandedOverError: Batch b is handed over to legacy")
    processes.wait_until(lambda: bool(checks.last(store.database)))
    assert checks.last(store.database) == [("b", {})]


def test_what_died_is_checked_by_reconcile(prefect_server: None, environment: pytest.MonkeyPatch, request_of: Any) -> None:
    flows.run_batch(request_of([faults.document("a")], "b"), "legacy")
    store = Store.from_settings()
    with store.database.write() as connection:
        connection.execute(update(BatchRun).values(mode="engine"))
        connection.execute(update(BatchExecution).values(status="failed", error="Interrupted: no heartbeat for 60 s"))
        connection.execute(text("UPDATE knowledge_workflow_execution SET status = 'failed'"))
    reconcile_batches()
    assert [set(found) for _, found in checks.last(store.database)] == [{"lost-lease"}]
    assert checks.unchecked(store) == []
