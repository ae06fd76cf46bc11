"""The old system's readers, frozen: right on whatever wrote the rows, on both databases, and able to see what is wrong."""

import shutil
from collections.abc import Callable
from typing import Any

import processes
import pytest
from sqlalchemy import bindparam, text

import faults
import flows
from compat.cutover import old_reader
from compat.ids import content_hash, document_execution_id
from compat.modes.ramp import is_taken
from compat.store import Store

pytestmark = pytest.mark.usefixtures("environment")
Documents = list[dict[str, str]]
Ask = Callable[..., dict[str, Any]]
MIXED = [faults.document("a"), faults.document("b", fail=1), faults.document("c", fail=faults.ALWAYS)]


def by_legacy(ask: Ask, environment: pytest.MonkeyPatch) -> None:
    flows.run_batch(ask(MIXED, "b"), "legacy")


def by_the_engine(ask: Ask, environment: pytest.MonkeyPatch) -> None:
    flows.run_batch(ask(MIXED, "b"), "engine")


def by_shadow(ask: Ask, environment: pytest.MonkeyPatch) -> None:
    from flows.shadow.comparison import run_shadow

    environment.setattr("sys.executable", shutil.which("true"))  # Nobody submits it elsewhere as well.
    flows.run_batch(ask(MIXED, "b"), "shadow")
    run_shadow(Store.from_settings(), Store.of_shadows(), "b", "tape")


def by_the_ramp(ask: Ask, environment: pytest.MonkeyPatch) -> None:
    flows.set_mode("engine", 50.0)
    other = next(name for name in (f"n{number}" for number in range(99)) if is_taken(name, 50) != is_taken("b", 50))
    flows.run_batch(ask(MIXED, "b"))
    flows.run_batch(ask([faults.document("z")], other))
    assert {batch.mode for batch in flows.list_batches()} == {"legacy", "engine"}


def by_a_rollback(ask: Ask, environment: pytest.MonkeyPatch) -> None:
    # Nobody listens there.
    environment.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        flows.run_batch(ask(MIXED, "b"), "engine")
    assert Store.from_settings().batch("b").rolled_back_from == "engine"


def by_a_resume(ask: Ask, environment: pytest.MonkeyPatch) -> None:
    flows.run_batch(ask([faults.document("a", fail=4), faults.document("b", fail=4)], "b"), "legacy")
    assert flows.resume_batch("b", "engine").success_count == 2


def by_a_demotion(ask: Ask, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("KNOWLEDGE_LEASE_SECONDS", "2")
    flows.start_batch(ask([faults.document(name, held=True) for name in "ac"], "b", concurrency=1), "engine")
    processes.wait_until(lambda: faults.knocks()["a"] == 1)
    flows.demote("a test", hand_over=True)
    store = Store.from_settings()
    for _ in range(2):
        heard = store.batch("b").heartbeat_at
        processes.wait_until(lambda: store.batch("b").heartbeat_at > heard)  # noqa: B023
    faults.open_door()
    processes.wait_until(lambda: store.has_ended("b"))
    assert store.batch("b").mode == "legacy"


def by_a_cancel(ask: Ask, environment: pytest.MonkeyPatch) -> None:
    flows.start_batch(ask([faults.document(name, held=True) for name in "ac"], "b", concurrency=1), "legacy")
    processes.wait_until(lambda: faults.knocks()["a"] == 1)
    flows.cancel_batch("b")
    faults.open_door()
    processes.wait_until(lambda: Store.from_settings().has_ended("b"))


WRITERS = (by_legacy, by_the_engine, by_shadow, by_the_ramp, by_a_rollback, by_a_resume, by_a_demotion, by_a_cancel)


@pytest.mark.parametrize("write", WRITERS, ids=[write.__name__ for write in WRITERS])
def test_an_old_reader_is_right_on_what_was_written(
    prefect_server: None, environment: pytest.MonkeyPatch, request_of: Ask, write: Callable[..., None]
) -> None:
    write(request_of, environment)
    store = Store.from_settings()
    batch = store.batch("b")
    with store.database.read() as connection:
        view = old_reader.look(connection, "b")
        assert old_reader.wrong(view) == []
        assert view.status == batch.status
        asked = text(old_reader.DOCUMENTS).bindparams(bindparam("document_ids", expanding=True))
        ids = [document.document_id for document in store.request("b").documents]
        found = connection.execute(asked, {"organization_id": "org", "document_ids": ids}).mappings().all()
        own = [row for row in found if row["id"] in {document_execution_id("b", name) for name in ids}]
        assert {row["status"] for row in own} <= set(old_reader.TERMINAL)
        assert len(own) >= batch.finished_documents
        for row in own:
            attempts = connection.execute(text(old_reader.ATTEMPTS), {"execution_id": row["id"]}).mappings().all()
            assert {each["activity_name"] for each in attempts} <= {"run_extraction_pipeline"}
            assert {each["status"] for each in attempts} <= {"completed", "failed", "skipped"}
        counted = dict(connection.execute(text(old_reader.COUNT_BY_STATUS)).tuples().all())
        # A shadow's rows are nobody's.
        assert sum(counted.values()) == len(flows.list_batches())
        mentions = connection.execute(text(old_reader.MENTIONS), {"document_id": ids[0]}).all()
        assert bool(mentions) == (batch.completed_documents > 0)


WRONG = {
    "no row is found by its id": "UPDATE knowledge_workflow_execution SET workflow_type = 'batch'",
    "one table says running, the other completed": "UPDATE knowledge_workflow_execution SET status = 'running'",
    "status 'done' is unknown": "UPDATE knowledge_workflow_execution SET status = 'done'",
    "its output has []": "UPDATE knowledge_workflow_execution SET output = NULL",
    "it has ended at no time": "UPDATE knowledge_workflow_execution SET completed_at = NULL",
    "its output says": "UPDATE knowledge_batch_execution SET entity_count = 99",
}


@pytest.mark.parametrize("said", WRONG, ids=list(WRONG))
def test_an_old_reader_sees_what_is_wrong(environment: pytest.MonkeyPatch, request_of: Ask, said: str) -> None:
    by_legacy(request_of, environment)
    database = Store.from_settings().database
    with database.write() as connection:
        connection.execute(text(WRONG[said]))
    with database.read() as connection:
        assert any(each.startswith(said) for each in old_reader.wrong(old_reader.look(connection, "b")))


@pytest.mark.parametrize(
    ("before", "now", "is_back"),
    [("completed", "running", True), ("running", "pending", True), ("running", None, True), ("failed", "pending", False)],
)
def test_a_status_that_goes_back_is_seen(before: str, now: str | None, is_back: bool) -> None:
    assert old_reader.went_back(before, now) == is_back


def test_the_queries_are_frozen() -> None:
    # Readers that nobody may change ask them as they are; a change here is a change of the contract.
    names = ("BATCH", "COUNTS", "DOCUMENTS", "ATTEMPTS", "COUNT_BY_STATUS", "MENTIONS")
    assert content_hash("".join(getattr(old_reader, name) for name in names))[:16] == "6c6d72d4204e6985"
