"""Claims, leases, resumes, cancels and ends, on SQLite and PostgreSQL."""

import gc
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text, update

import faults
import flows
from compat.contracts import (
    BatchParams,
    Cancelled,
    CanonicalEntity,
    Completed,
    Entity,
    Extracting,
    Failed,
    Pending,
    PipelineConfig,
    ResolutionStarted,
    Resolving,
)
from compat.errors import (
    BatchAlreadyRunningError,
    BatchInfrastructureError,
    BatchNotFoundError,
    InvalidInputError,
    InvalidStateTransitionError,
    LeaseLostError,
    WorkflowNotFoundError,
)
from compat.ids import extraction_id, mention_id, unordered_mention_id
from compat.modes import Decision, Mode
from compat.parity.sides import values
from compat.recording.recorder import Recorder
from compat.status import RowStatus
from compat.store import Claim, Store, ends, events, graphs
from compat.store.database import Database
from compat.store.schema import BatchExecution, BatchRun, MentionRecord, WorkflowActivity, WorkflowExecution
from tasks.extraction import resolve

LEGACY = Decision(Mode.LEGACY, "a test")


@pytest.fixture
def store(environment: pytest.MonkeyPatch) -> Store:
    return Store.from_settings()


@pytest.fixture
def params(request_of: Any) -> BatchParams:
    return BatchParams.parse(request_of([faults.document("a"), faults.document("b")], batch_id="the batch"))


@pytest.fixture
def claim(store: Store, params: BatchParams) -> Claim:
    claim = store.claim(params, LEGACY)
    assert claim is not None
    return claim


def tags(store: Store, batch_id: str = "the batch") -> list[str]:
    return [type(event).__name__ for _, event in events.stored_events(store.database, batch_id)]


def expire(store: Store) -> None:
    with store.database.write() as connection:
        connection.execute(text("UPDATE knowledge_batch_run SET heartbeat_at = '2000-01-01 00:00:00'"))


def test_a_claimed_batch_is_pending_and_an_old_reader_finds_it(store: Store, claim: Claim) -> None:
    assert store.state("the batch") == Pending(batch_id="the batch")
    query = text(
        "SELECT id, status FROM knowledge_workflow_execution WHERE workflow_type = 'batch_extraction' "
        "AND input->>'batchId' = :id ORDER BY created_at DESC LIMIT 1"
    )
    with store.database.read() as connection:
        assert connection.execute(query, {"id": "the batch"}).one() == (claim.execution_id, "pending")


def test_of_many_callers_one_wins(store: Store, params: BatchParams) -> None:
    won, refused = [], []

    def call() -> None:
        try:
            won.append(store.claim(params, LEGACY))
        except BatchAlreadyRunningError:
            refused.append(1)

    threads = [threading.Thread(target=call) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(refused)) == (1, 15)


def test_the_same_id_with_other_input_is_refused(store: Store, claim: Claim, params: BatchParams) -> None:
    other = params.model_copy(update={"organization_id": "another"})
    with pytest.raises(InvalidStateTransitionError, match="was used with other input"):
        store.claim(other, LEGACY)


def test_a_completed_batch_is_not_claimed_again(store: Store, claim: Claim, params: BatchParams) -> None:
    with Recorder(store, claim) as recorder:
        recorder.begin()
        recorder.finish()
    assert store.claim(params, LEGACY) is None


def test_a_batch_without_a_heartbeat_is_reported_failed_and_can_be_resumed(store: Store, claim: Claim) -> None:
    expire(store)
    state = store.state("the batch")
    assert isinstance(state, Failed)
    assert "knowledge-batch resume the batch" in state.error
    assert store.resume("the batch", LEGACY).holder_token != claim.holder_token


def test_a_live_batch_is_not_resumed(store: Store, claim: Claim) -> None:
    with pytest.raises(BatchAlreadyRunningError):
        store.resume("the batch", LEGACY)


def test_whoever_lost_the_batch_writes_nothing_more(store: Store, claim: Claim) -> None:
    recorder = Recorder(store, claim)
    recorder.begin()
    expire(store)
    store.resume("the batch", LEGACY)
    with pytest.raises(LeaseLostError):
        recorder.attempt("a", faults.ScriptedExtractor())
    with pytest.raises(LeaseLostError):
        recorder.finish()
    assert faults.knocks() == {}


def test_a_cancel_stops_the_next_document_and_the_batch_ends_cancelled(store: Store, claim: Claim) -> None:
    recorder = Recorder(store, claim)
    recorder.begin()
    assert recorder.attempt("a", faults.ScriptedExtractor()) == "succeeded"
    store.cancel("the batch")
    assert recorder.attempt("b", faults.ScriptedExtractor()) == "stopped"
    recorder.finish()
    assert store.state("the batch") == Cancelled(batch_id="the batch", completed_documents=1, total_documents=2)
    assert tags(store) == ["BatchCreated", "DocumentStarted", "DocumentCompleted", "BatchFailed"]
    assert faults.knocks() == {"a": 1}


def test_a_batch_that_nobody_holds_is_cancelled_at_once(store: Store, claim: Claim) -> None:
    expire(store)
    store.cancel("the batch")
    assert isinstance(store.state("the batch"), Cancelled)
    with pytest.raises(InvalidStateTransitionError):
        store.resume("the batch", LEGACY)


def statuses(store: Store) -> dict[str, Any]:
    """Of the documents' rows and of the attempts'."""
    with store.database.read() as connection:
        query = select(WorkflowExecution.status).where(WorkflowExecution.workflow_type == "extraction")
        documents = connection.execute(query.order_by(WorkflowExecution.input["documentId"].as_string())).scalars().all()
        attempts = connection.execute(select(WorkflowActivity.status).order_by(WorkflowActivity.started_at)).scalars().all()
    return {"documents": documents, "attempts": attempts}


class DiesAfterA(faults.ScriptedExtractor):
    """Ends its thread at every document but a, as a process that is killed does."""

    def run(self, text: str, ontology_content: str, config: PipelineConfig) -> Any:
        if config.document_id != "a":
            raise KeyboardInterrupt
        return super().run(text, ontology_content, config)


@pytest.fixture
def cut_off(store: Store, claim: Claim) -> Claim:
    """A batch of which document a is extracted, and b was in work when the process died."""
    recorder = Recorder(store, claim)
    recorder.begin()
    recorder.attempt("a", DiesAfterA())
    with pytest.raises(KeyboardInterrupt):
        recorder.attempt("b", DiesAfterA())
    assert statuses(store) == {"documents": ["completed", "running"], "attempts": ["completed", "running"]}
    return claim


@pytest.mark.parametrize(
    ("ending", "says"),
    [
        ("failed by its holder", "failed"),
        ("cancelled, and then failed by its holder", "cancelled"),
        ("reconciled", "failed"),
        ("cancelled when it was dead", "cancelled"),
    ],
)
def test_no_row_of_a_batch_that_has_ended_says_running(store: Store, cut_off: Claim, ending: str, says: str) -> None:
    match ending:
        case "failed by its holder":
            store.fail(cut_off, "the store was away")
        case "cancelled, and then failed by its holder":
            store.cancel("the batch")
            store.fail(cut_off, "the store was away")
        case "reconciled":
            expire(store)
            store.reconcile("the batch")
        case _:
            expire(store)
            store.cancel("the batch")
    assert store.batch("the batch").status == says
    assert statuses(store) == {"documents": ["completed", says], "attempts": ["completed", "skipped"]}


def test_a_batch_ends_where_others_left_many_rows_that_say_running(
    store: Store, claim: Claim, request_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ends, "IDS", 1)
    other = store.claim(BatchParams.parse(request_of([faults.document("c"), faults.document("d")], batch_id="another")), LEGACY)
    assert other is not None
    for held, names in ((other, "cd"), (claim, "ab")):
        recorder = Recorder(store, held)
        recorder.begin()
        for name in names:
            with suppress(KeyboardInterrupt):
                recorder.attempt(name, DiesAfterA())
    assert statuses(store)["documents"] == ["completed", "running", "running", "running"]
    store.fail(claim, "the store was away")
    assert statuses(store)["documents"] == ["completed", "failed", "running", "running"]


def test_a_dead_batch_that_is_resumed_begins_with_no_row_that_says_running(store: Store, cut_off: Claim) -> None:
    expire(store)
    again = Recorder(store, store.resume("the batch", LEGACY))
    assert statuses(store) == {"documents": ["completed", "failed"], "attempts": ["completed", "skipped"]}
    again.begin()
    # Under the number that it had: what was cut off doesn't count.
    assert again.attempt("b", faults.ScriptedExtractor()) == "succeeded"
    again.finish()
    assert statuses(store) == {"documents": ["completed", "completed"], "attempts": ["completed", "completed"]}


def test_a_document_that_waited_for_its_next_attempt_is_cancelled_with_its_batch(store: Store, claim: Claim) -> None:
    recorder = Recorder(store, claim)
    recorder.begin()
    recorder.attempt("a", faults.ScriptedExtractor())

    class Fails:
        def run(self, text: str, ontology_content: str, config: PipelineConfig) -> Any:
            raise RuntimeError("no")

    assert recorder.attempt("b", Fails()) == "unfinished"
    store.cancel("the batch")
    recorder.finish()
    assert statuses(store) == {"documents": ["completed", "cancelled"], "attempts": ["completed", "failed"]}


def test_a_documents_row_that_lost_its_last_write_says_at_the_end_what_its_outcome_says(store: Store, claim: Claim) -> None:
    recorder = Recorder(store, claim)
    recorder.begin()
    for document_id in "ab":
        recorder.attempt(document_id, faults.ScriptedExtractor())
    with store.database.write() as connection:
        connection.execute(text("UPDATE knowledge_workflow_execution SET status = 'running' WHERE workflow_type = 'extraction'"))
    recorder.finish()
    assert statuses(store)["documents"] == ["completed", "completed"]


def test_a_cancel_that_waits_for_the_end_finds_that_the_batch_has_ended(store: Store, claim: Claim) -> None:
    Recorder(store, claim).begin()
    with ThreadPoolExecutor(1) as pool, store.database.write() as connection:
        ends.end(connection, store.held_by(connection, claim), RowStatus.COMPLETED, None)
        waiting = pool.submit(store.cancel, "the batch")
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.3)
        connection.commit()
        with pytest.raises(InvalidStateTransitionError, match="is Completed"):
            waiting.result(timeout=30)


def test_a_finished_batch_is_not_cancelled(store: Store, claim: Claim) -> None:
    recorder = Recorder(store, claim)
    recorder.begin()
    recorder.finish()
    with pytest.raises(InvalidStateTransitionError, match="is Completed"):
        store.cancel("the batch")
    assert isinstance(store.state("the batch"), Completed)


def test_the_first_terminal_status_stands(store: Store, claim: Claim) -> None:
    store.fail(claim, "the server went away")
    with pytest.raises(LeaseLostError):
        store.finish(claim)
    assert store.fail(claim, "again") == "failed"
    assert store.state("the batch") == Failed(batch_id="the batch", failed_documents=0, error="the server went away")
    assert tags(store) == ["BatchFailed"]


def test_states_follow_the_work(store: Store, claim: Claim) -> None:
    recorder = Recorder(store, claim)
    recorder.begin()
    assert store.state("the batch") == Extracting(batch_id="the batch", completed_documents=0, total_documents=2, progress=0)
    recorder.attempt("a", faults.ScriptedExtractor())
    assert store.state("the batch") == Extracting(batch_id="the batch", completed_documents=1, total_documents=2, progress=0.5)
    seen = []

    class Resolution:
        entities = (CanonicalEntity(id="canonical", name="A thing"),)
        merge_count = 7

        def canonical_id(self, entity: Entity) -> str:
            return "canonical"

        def close(self) -> None:
            seen.append("closed")

    def resolver(entities: Any, organization_id: str, ontologies: Any) -> Resolution:
        seen.extend(document for document, _ in entities)
        assert store.state("the batch") == Resolving(batch_id="the batch", progress=0)
        return Resolution()

    assert recorder.resolve(resolver) == 7
    assert seen == ["a", "a", "closed"]
    assert store.state("the batch") == Resolving(batch_id="the batch", progress=1)


def test_mentions_stand_beside_those_of_their_document_and_those_with_older_ids_are_resolved_too(
    store: Store, claim: Claim
) -> None:
    recorder = Recorder(store, claim)
    recorder.begin()
    recorder.attempt("a", faults.ScriptedExtractor())
    extraction = extraction_id("the batch", "a")
    graph = next(store.extractions("the batch")).result.graph
    first, second = (mention_id(extraction, entity.id, 0) for entity in graph.entities)
    older = unordered_mention_id(extraction, graph.entities[0].id, 0)
    assert first[26:44] == second[26:44] == extraction[-36:-18]
    assert len({first, second, older}) == 3
    assert values.id_breach(first, "knowledge_mention_record") is None
    with store.database.write() as connection:
        # As a version wrote it that was replaced while the batch was under way.
        connection.execute(update(MentionRecord).where(MentionRecord.id == first).values(id=older))
    recorder.resolve(resolve)
    with store.database.read() as connection:
        resolved = dict(connection.execute(select(MentionRecord.id, MentionRecord.resolved_entity_id)).tuples().all())
    assert set(resolved) == {older, second}
    assert all(resolved.values())


def test_a_resolution_that_fails_merges_nothing_and_fails_nothing(store: Store, claim: Claim) -> None:
    recorder = Recorder(store, claim)
    recorder.begin()

    def broken(entities: Any, organization_id: str, ontologies: Any) -> Any:
        raise RuntimeError("no room\nat all")

    assert recorder.resolve(broken) == 0
    assert recorder.finish() == "completed"
    assert tags(store) == ["BatchCreated", "ResolutionStarted", "ResolutionCompleted", "BatchCompleted"]
    assert store.batch("the batch").resolution_error == "RuntimeError: no room"


def test_a_resolution_that_fails_half_way_leaves_nothing_of_it(store: Store, claim: Claim) -> None:
    recorder = Recorder(store, claim)
    recorder.begin()
    recorder.attempt("a", faults.ScriptedExtractor())

    class Resolution:
        merge_count = 7

        @property
        def entities(self) -> Iterator[CanonicalEntity]:
            yield CanonicalEntity(id="canonical", name="A thing")
            raise OSError("no space left")

        def canonical_id(self, entity: Entity) -> str:
            return "canonical"

        def close(self) -> None:
            pass

    assert recorder.resolve(lambda *_: Resolution()) == 0
    assert (graphs.count(store.database, "the batch"), graphs.members(store.database, "the batch", ["a"])) == ({}, {})
    assert store.batch("the batch").resolution_error == "OSError: no space left"
    # Tried again, it says nothing of the first time.
    assert recorder.resolve(resolve) == 0
    assert store.batch("the batch").resolution_error is None


def test_a_hand_over_says_from_to_and_why_and_shuts_the_first_one_out(store: Store, claim: Claim) -> None:
    Recorder(store, claim).begin()
    taken = store.hand_over(claim, Mode.ENGINE, "a test")
    with pytest.raises(LeaseLostError):
        store.finish(claim)
    with store.database.read() as connection:
        row = connection.execute(select(WorkflowExecution.input).where(WorkflowExecution.id == claim.execution_id)).scalar_one()
    assert row["executionMode"] == "engine"
    assert row["rolledBackFrom"] == "legacy"
    assert row["rollbackReason"] == "a test"
    assert store.finish(taken) == "completed"


def test_an_unknown_batch_is_not_found(store: Store) -> None:
    for ask in (store.state, store.result, store.cancel, lambda batch_id: store.resume(batch_id, LEGACY)):
        with pytest.raises(BatchNotFoundError, match="No batch nobody"):
            ask("nobody")


def test_a_failed_claim_writes_nothing_at_all(store: Store, params: BatchParams) -> None:
    with store.database.write() as connection:
        connection.execute(text("ALTER TABLE knowledge_batch_document RENAME TO elsewhere"))
    with pytest.raises(BatchInfrastructureError) as caught:
        store.claim(params, LEGACY)
    assert caught.value.operation == "batch_create_execution"
    with store.database.read() as connection:
        for table in (BatchRun, BatchExecution, WorkflowExecution):
            assert connection.execute(select(table)).all() == []


def test_a_terminal_write_that_fails_is_an_infrastructure_error_and_the_work_is_kept(store: Store, claim: Claim) -> None:
    recorder = Recorder(store, claim)
    recorder.begin()
    recorder.attempt("a", faults.ScriptedExtractor())
    with store.database.write() as connection:
        connection.execute(text("ALTER TABLE knowledge_workflow_execution RENAME COLUMN output TO elsewhere"))
    with pytest.raises(BatchInfrastructureError):
        recorder.finish()
    with store.database.write() as connection:
        connection.execute(text("ALTER TABLE knowledge_workflow_execution RENAME COLUMN elsewhere TO output"))
    assert store.result("the batch").success_count == 1
    expire(store)
    assert flows.resume_batch("the batch").success_count == 2
    assert faults.knocks() == {"a": 1, "b": 1}


def test_an_event_log_that_fails_does_not_fail_the_batch(environment: pytest.MonkeyPatch, store: Store, request_of: Any) -> None:
    with store.database.write() as connection:
        connection.execute(text("ALTER TABLE knowledge_batch_event RENAME COLUMN payload TO elsewhere"))
    result = flows.run_batch(request_of([faults.document("a", fail=1)], batch_id="mute"))
    assert result.success_count == 1
    assert isinstance(store.state("mute"), Completed)


def test_a_documents_progress_is_told_attempt_by_attempt(environment: pytest.MonkeyPatch, request_of: Any) -> None:
    documents = [faults.document("a", fail=1), faults.document("b", fail=faults.ALWAYS, how="ontology"), faults.document("c")]
    flows.run_batch(request_of(documents, batch_id="told", failurePolicy="abort-all"))

    def told(document_id: str) -> list[tuple[str, float]]:
        return [(each.status, each.progress) for each in flows.document_progress("told", document_id)]

    assert told("a") == [("started", 0), ("failed", 0), ("started", 0), ("completed", 1)]
    assert told("b") == [("started", 0), ("failed", 0)]
    ended = flows.document_progress("told", "b")[1].model_dump()
    assert ended["activityName"] == "run_extraction_pipeline"
    assert ended["message"].startswith("OntologyParseError")
    with pytest.raises(WorkflowNotFoundError):
        # Not started: document b had ended the batch.
        told("c")
    with pytest.raises(BatchNotFoundError):
        flows.document_progress("nobody", "a")


def test_switches_are_seen_by_the_next_reader(store: Store) -> None:
    store.set_switch("mode", "engine")
    assert store.switches() == {"mode": "engine"}
    store.set_switch("mode", None)
    assert store.switches() == {}


def test_failures_keep_class_text_and_attempt(environment: pytest.MonkeyPatch, request_of: Any) -> None:
    documents = [faults.document("a", fail=faults.ALWAYS), faults.document("b", fail=1, how="ontology"), faults.document("c")]
    flows.run_batch(request_of(documents, batch_id="failing"))
    found = Store.from_settings().failures("failing")
    assert list(found) == ["a", "b"]
    assert (found["a"].attempt, type(found["a"].__cause__)) == (4, faults.FlakyServiceError)
    assert (found["b"].attempt, type(found["b"].__cause__).__name__) == (1, "OntologyParseError")


@pytest.mark.parametrize("url", ["nonsense", "mysql://localhost/x", "sqlite://", "sqlite:///:memory:"])
def test_a_database_that_cannot_serve_is_refused_by_name(environment: pytest.MonkeyPatch, url: str) -> None:
    environment.setenv("KNOWLEDGE_DATABASE_URL", url)
    with pytest.raises(InvalidInputError, match="KNOWLEDGE_DATABASE_URL"):
        Store.from_settings()


def test_a_new_file_that_somebody_else_is_opening_is_waited_for(tmp_path: Path) -> None:
    # A reader of a file that isn't in WAL yet: SQLite fails the switch at once, whatever the busy timeout.
    file = tmp_path / "new.db"
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE t (x)")
    other.execute("BEGIN")
    other.execute("SELECT * FROM t").fetchall()
    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(Database, f"sqlite:///{file}")
        with pytest.raises(TimeoutError):
            opening.result(timeout=0.3)
        other.execute("COMMIT")
        assert opening.result(timeout=30).dialect == "sqlite"


def test_events_are_read_a_block_at_a_time(store: Store, claim: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    assert events.last_sequence(store.database, "the batch") == -1
    with Recorder(store, claim) as recorder:
        recorder.begin()
        for document_id in recorder.pending():
            recorder.attempt(document_id, faults.ScriptedExtractor())
        recorder.finish()
    whole = list(events.stored_events(store.database, "the batch"))
    assert len(whole) == 6
    assert events.last_sequence(store.database, "the batch") == 5
    for block in (1, 2, 5, 6, 7):
        monkeypatch.setattr(events, "BLOCK", block)
        assert list(events.stored_events(store.database, "the batch")) == whole
        assert list(events.stored_events(store.database, "the batch", after=3)) == whole[4:]


def test_events_bear_the_moment_at_which_they_are_written_so_that_none_runs_backwards(store: Store, claim: Claim) -> None:
    recorder = Recorder(store, claim)
    recorder.begin()
    # Made before the attempt's events, written behind them.
    early = ResolutionStarted(batch_id="the batch")
    recorder.attempt("a", faults.ScriptedExtractor())
    with store.database.write() as connection:
        events.emit(connection, "early", early)
    moments = [event.timestamp for _, event in events.stored_events(store.database, "the batch")]
    assert len(moments) == 4
    assert moments == sorted(moments)


def test_opening_a_database_again_keeps_the_locks_on_its_file(sqlite_url: str) -> None:
    other = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('SELECT * FROM knowledge_batch_run').close()"
    file = sqlite_url.removeprefix("sqlite:///")
    with Database(sqlite_url, upgrade=True).write() as connection:
        connection.execute(text("CREATE TABLE held (n INTEGER)"))
    database = Database(sqlite_url)
    with database.read() as connection:
        connection.execute(text("SELECT * FROM held"))
        with Database(sqlite_url).read() as again:
            again.execute(text("SELECT * FROM held"))
        subprocess.run([sys.executable, "-c", other, file], check=True)
        # The last to leave removes it; a process that finds no lock takes itself for that.
        assert Path(f"{file}-wal").exists()


def test_results_that_are_read_time_and_again_leave_pythons_collector_its_work(store: Store, claim: Claim) -> None:
    before = gc.get_stats()[1]["collections"]
    for _ in range(30):
        store.result("the batch")
        for _ in range(1_000):
            circle: list[Any] = []
            circle.append(circle)
    assert gc.get_stats()[1]["collections"] > before
