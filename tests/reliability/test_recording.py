"""What is written at attempts, several to a commit and at the driver, is row by row what the plain way writes."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import processes
import pytest
from plain import PlainWriter
from sqlalchemy import make_url, select, text

import faults
import legacy.orchestrator
import postgres
from compat.contracts import BatchParams, DocumentCompleted, DocumentFailed, ExtractionResult, PipelineConfig
from compat.errors import BatchInfrastructureError, UnkeepableDataError
from compat.modes import Decision, Mode
from compat.recording import commits, recorder
from compat.recording.recorder import Recorder
from compat.store import Claim, Store, database, events
from compat.store.database import Database
from compat.store.schema import Base

# Differs between any two runs: tokens, moments, what takes how long, and the id of a batch's own row.
OF_ITS_RUN = {"execution_id", "owner", "duration_ms"}


def params(documents: list[dict[str, str]], **config: Any) -> BatchParams:
    asked = {"organizationId": "org", "ontologyId": "ontology", "batchId": "b", "documents": documents, "config": config}
    return BatchParams.model_validate(asked)


def tables(store: Store, in_order: bool) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, but for what differs between any two runs."""
    found = {}
    with store.database.read() as connection:
        batch_row = connection.execute(text("SELECT execution_id FROM knowledge_batch_run")).scalar()
        for table in Base.metadata.sorted_tables:
            rows = []
            for row in connection.execute(select(table)).mappings():
                values = {column.name: row[column] for column in table.columns}
                if table.name == "knowledge_batch_event" and not in_order:
                    # Of documents in work at once either may be first; that numbers have no gaps is asked beside.
                    values["sequence"] = None
                rows.append(tuple(comparable(name, value, batch_row, table.name) for name, value in values.items()))
            found[table.name] = sorted(rows, key=repr)
    return found


def comparable(name: str, value: Any, batch_row: str, table: str) -> Any:
    if name == "payload":
        return json.dumps({**value, "timestamp": None}, sort_keys=True)
    if isinstance(value, dict | list):
        return json.dumps(value, sort_keys=True)
    if name.endswith("_at"):
        return value is not None
    if name in OF_ITS_RUN and (name != "execution_id" or table == "knowledge_batch_run"):
        return value is not None
    return "the batch's own row" if value == batch_row else value


class Watched(faults.ScriptedExtractor):
    """Stops its batch, or cancels it, as its second document is in work."""

    def __init__(self, then: Callable[[], None]) -> None:
        self._then = then
        self._seen = 0
        self._lock = threading.Lock()

    def run(self, text: str, ontology_content: str, config: PipelineConfig) -> ExtractionResult:
        with self._lock:
            self._seen += 1
            if self._seen == 2:
                self._then()
        return super().run(text, ontology_content, config)


def work(store: Store, claim: Claim, then: Callable[[Recorder], None] | None = None) -> None:
    with Recorder(store, claim, retry_base_seconds=0.0) as writing:
        extractor = Watched(lambda: then(writing)) if then else faults.ScriptedExtractor()
        legacy.orchestrator.run(writing, extractor)


def start(store: Store, asked: BatchParams, mode: Mode = Mode.LEGACY) -> Claim:
    claim = store.claim(asked, Decision(mode, "asked for"))
    assert claim is not None
    return claim


def run(store: Store, asked: BatchParams) -> None:
    work(store, start(store, asked))


def run_in_shadow(store: Store, asked: BatchParams) -> None:
    work(store, start(store, asked, Mode.SHADOW))


def resume(store: Store, asked: BatchParams) -> None:
    """Interrupted at the second document; then resumed until it completes or all of it has failed."""
    work(store, start(store, asked), lambda writing: writing.stop("told to"))
    if store.batch("b").status == "failed":
        work(store, store.resume("b", Decision(Mode.LEGACY, "resumed")))


def roll_back(store: Store, asked: BatchParams) -> None:
    """Begun in the engine's name, handed over at the second document: the first run's last writes come too late."""
    claim, handed = start(store, asked, Mode.ENGINE), []
    with Recorder(store, claim, retry_base_seconds=0.0) as first:
        first.begin()
        pending = iter(first.pending())
        for document_id in pending:
            first.attempt(document_id, faults.ScriptedExtractor())
            break
        handed.append(store.hand_over(claim, Mode.LEGACY, "the engine broke"))
        for document_id in pending:
            with pytest.raises(recorder.KnowledgeBatchError):
                first.attempt(document_id, faults.ScriptedExtractor())
            break
    work(store, handed[0])


def cancel(store: Store, asked: BatchParams) -> None:
    """Cancelled while the second document is in work."""
    work(store, start(store, asked), lambda _: store.cancel("b"))


def lose_rows(store: Store, asked: BatchParams) -> None:
    """A database that refuses what may be missing, and the mentions of one document."""
    with store.database.write() as connection:
        for statement in REFUSALS[store.database.dialect]:
            connection.execute(text(statement))
    run(store, asked)


REFUSALS = {
    "sqlite": [
        "CREATE TRIGGER no_row BEFORE INSERT ON knowledge_workflow_execution WHEN json_extract(NEW.input, '$.documentId') "
        "IN ('m1', 'a', 'g2') BEGIN SELECT RAISE(ABORT, 'no row'); END",
        "CREATE TRIGGER no_event BEFORE INSERT ON knowledge_batch_event WHEN NEW.document_id IN ('m0', 'b', 'g3') "
        "BEGIN SELECT RAISE(ABORT, 'no event'); END",
        "CREATE TRIGGER no_mention BEFORE INSERT ON knowledge_mention_record WHEN NEW.document_id IN ('m2', 'c', 'g4') "
        "BEGIN SELECT RAISE(ABORT, 'no mention'); END",
    ],
    "postgresql": [
        "ALTER TABLE knowledge_workflow_execution ADD CHECK (coalesce(input->>'documentId', '') NOT IN ('m1', 'a', 'g2'))",
        "ALTER TABLE knowledge_batch_event ADD CHECK (coalesce(document_id, '') NOT IN ('m0', 'b', 'g3'))",
        "ALTER TABLE knowledge_mention_record ADD CHECK (document_id NOT IN ('m2', 'c', 'g4'))",
    ],
}

WAYS: dict[str, Callable[[Store, BatchParams], None]] = {
    "run": run,
    "shadow": run_in_shadow,
    "resume": resume,
    "roll back": roll_back,
    "cancel": cancel,
    "rows that may be missing": lose_rows,
}
POLICIES = ("continue-on-failure", "abort-all", "retry-failed")


@pytest.fixture
def fresh_store(request: pytest.FixtureRequest, environment: pytest.MonkeyPatch, tmp_path: Any) -> Any:
    """Makes stores of one kind of database, each empty."""

    @contextmanager
    def made(kind: str, number: int) -> Iterator[Store]:
        environment.setenv(faults.DOOR, str(tmp_path / f"door {number}"))
        if kind == "sqlite":
            store = Store(Database(f"sqlite:///{tmp_path}/{number}.db"))
            yield store
            store.database.engine.dispose()
            return
        with postgres.fresh(request.getfixturevalue("postgres_url"), request.getfixturevalue("postgres_template")) as url:
            store = Store(Database(url))
            yield store
            store.database.engine.dispose()

    return made


def written(fresh_store: Any, kind: str, number: int, way: str, asked: BatchParams) -> dict[str, list[tuple[Any, ...]]]:
    with fresh_store(kind, number) as store:
        WAYS[way](store, asked)
        with store.database.read() as connection:
            sequences = connection.execute(text("SELECT sequence FROM knowledge_batch_event ORDER BY sequence")).scalars().all()
            assert len(set(sequences)) == len(sequences)
        return tables(store, in_order=asked.config.concurrency == 1)


def cases() -> Iterator[Any]:
    """Every way and policy over every script, on both databases; by default one script, and less of it on PostgreSQL."""
    for kind in ("sqlite", "postgresql"):
        for script in faults.SCRIPTS:
            for concurrency in (1, 4):
                for way in WAYS:
                    if concurrency > 1 and way in ("resume", "cancel"):
                        # How far a batch is when it stops hangs on its threads.
                        continue
                    for policy in POLICIES:
                        first = POLICIES.index(policy) == 0
                        usual = script == "mixed" and (first or (kind, concurrency) == ("sqlite", 1))
                        marks = [] if usual and (kind, concurrency) != ("postgresql", 4) else [pytest.mark.slow]
                        name = f"{kind}-{script}-{concurrency} at a time-{way}-{policy}"
                        yield pytest.param(kind, script, concurrency, way, policy, marks=marks, id=name)


@pytest.mark.parametrize(("kind", "script", "concurrency", "way", "policy"), list(cases()))
def test_every_table_is_what_the_plain_way_writes(
    fresh_store: Any, monkeypatch: pytest.MonkeyPatch, kind: str, script: str, concurrency: int, way: str, policy: str
) -> None:
    asked = params(faults.SCRIPTS[script], concurrency=concurrency, failurePolicy=policy, maxRetries=3)
    quick = written(fresh_store, kind, 1, way, asked)
    monkeypatch.setattr(recorder, "AttemptWriter", PlainWriter)
    plain = written(fresh_store, kind, 2, way, asked)
    for table, rows in plain.items():
        assert quick[table] == rows, table
    assert plain["knowledge_batch_run"]


def old_row(store: Store) -> int:
    """The finished documents that an old reader counts."""
    with store.database.read() as connection:
        return int(connection.execute(text("SELECT completed_documents FROM knowledge_batch_execution")).scalar_one())


@pytest.mark.usefixtures("environment")
def test_a_large_batch_writes_the_row_of_all_its_ids_now_and_then_and_its_counts_are_true_at_every_document(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(commits, "COPIES", 4)
    store = Store.from_settings()
    seen: list[tuple[int, int]] = []

    class Looks(faults.ScriptedExtractor):
        def run(self, text: str, ontology_content: str, config: PipelineConfig) -> ExtractionResult:
            seen.append((store.batch("b").completed_documents, old_row(store)))
            return super().run(text, ontology_content, config)

    claim = start(store, params([faults.document(f"d{number}") for number in range(10)], concurrency=1))
    with Recorder(store, claim) as writing:
        legacy.orchestrator.run(writing, Looks())
    # A quarter of ten is three.
    assert seen == [(finished, finished // 3 * 3) for finished in range(10)]
    assert old_row(store) == 10


@pytest.mark.usefixtures("environment")
def test_what_is_ready_at_once_shares_a_commit_and_nothing_is_reported_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.from_settings()
    documents = [f"d{number}" for number in range(4)]
    claim = start(store, params([faults.document(name) for name in documents], concurrency=4))
    transactions: list[int] = []
    together = commits.Commits._together

    def counted(self: commits.Commits, entries: list[commits.Entry]) -> None:
        transactions.append(len(entries))
        together(self, entries)

    monkeypatch.setattr(commits.Commits, "_together", counted)
    go_on, at_work, outcomes = threading.Event(), threading.Semaphore(0), []

    class Waits(faults.ScriptedExtractor):
        def run(self, text: str, ontology_content: str, config: PipelineConfig) -> ExtractionResult:
            at_work.release()
            assert go_on.wait(60)
            return super().run(text, ontology_content, config)

    with Recorder(store, claim) as writing:
        writing.begin()
        threads = [
            threading.Thread(target=lambda name=name: outcomes.append(writing.attempt(name, Waits()))) for name in documents
        ]
        for thread in threads:
            thread.start()
        assert all(at_work.acquire(timeout=60) for _ in threads)
        transactions.clear()
        with store.database.write() as connection:
            # The batch's row is somebody else's for now.
            store.held_by(connection, claim)
            go_on.set()
            processes.wait_until(lambda: transactions == [1] and len(writing._attempts._commits._waiting) == 3)
            assert outcomes == []
            assert store.batch("b").completed_documents == 0
        for thread in threads:
            thread.join(60)
    assert outcomes == ["succeeded"] * 4
    assert transactions == [1, 3]
    assert store.batch("b").completed_documents == 4


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("policy", ["continue-on-failure", "retry-failed"])
def test_the_end_of_a_document_and_the_beginning_of_the_next_share_a_commit(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.from_settings()
    transactions: list[list[bool]] = []
    together = commits.Commits._together

    def counted(self: commits.Commits, entries: list[commits.Entry]) -> None:
        transactions.append([entry.begins for entry in entries])
        together(self, entries)

    monkeypatch.setattr(commits.Commits, "_together", counted)
    run(store, params([faults.document(f"d{number}") for number in range(4)], concurrency=1, failurePolicy=policy))
    assert transactions == [[True], *[[False, True]] * 3, [False]]


@pytest.mark.usefixtures("environment")
def test_where_an_end_is_refused_the_next_document_does_not_begin_before_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.from_settings()
    alone, refusals = commits.Commits._alone, iter([True])

    def refused(*_: object) -> None:
        raise ValueError

    def refuse_once(self: commits.Commits, entry: commits.Entry) -> None:
        if entry.succeeds and next(refusals, False):
            raise UnkeepableDataError("a value")
        alone(self, entry)

    monkeypatch.setattr(commits.Commits, "_together", refused)
    monkeypatch.setattr(commits.Commits, "_alone", refuse_once)
    run(store, params([faults.document(f"d{number}") for number in range(3)], concurrency=1))
    stored = [event for _, event in events.stored_events(store.database, "b")]
    told = [(type(event).__name__, getattr(event, "document_id", None)) for event in stored]
    each = [(name, f"d{number}") for number in range(3) for name in ("DocumentStarted", "DocumentCompleted")]
    assert [entry for entry in told if entry[1]] == each
    assert store.batch("b").completed_documents == 3


@pytest.mark.usefixtures("environment")
def test_sqlites_log_is_copied_while_others_write_and_only_its_rest_while_they_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.from_settings()
    copies: list[bool] = []
    checkpoint = Database.checkpoint

    def noted(self: Database) -> None:
        copies.append(writing._attempts._commits._writing.locked())
        checkpoint(self)

    monkeypatch.setattr(Database, "checkpoint", noted)
    monkeypatch.setattr(commits, "CHECKPOINT_PAGES", 1)
    with Recorder(store, start(store, params([faults.document("d0")]))) as writing:
        writing.begin()
        assert writing.attempt("d0", faults.ScriptedExtractor()) == "succeeded"
    # Behind the beginning, and behind the end.
    assert copies == [False, True] * 2
    if store.database.dialect == "sqlite":
        with store.database.read() as connection:
            _, log, copied = connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)").one()
        assert log == copied


def test_a_database_that_stays_locked_is_waited_for_once_more_and_not_once_an_attempt(
    tmp_path: Any, environment: pytest.MonkeyPatch
) -> None:
    for module in (database, commits):
        environment.setattr(module, "BUSY_SECONDS", 0.3)
    tried = []
    alone = commits.Commits._alone
    environment.setattr(commits.Commits, "_alone", lambda self, entry: (tried.append(entry), alone(self, entry)))
    store = Store(Database(f"sqlite:///{tmp_path}/locked.db"))
    writing = Recorder(store, start(store, params([faults.document(f"d{number}") for number in range(8)])))
    writing.begin()
    started = [writing.start(f"d{number}") for number in range(8)]
    with store.database.write():
        for each in started:
            with pytest.raises(BatchInfrastructureError, match="database is locked"):
                writing.work(each, faults.ScriptedExtractor())
    # SQLite may give up a little before its time, and another is tried then.
    assert len(tried) <= 2
    store.database.engine.dispose()


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("script", [{}, {"fail": 9}], ids=["succeeds", "fails"])
def test_a_commit_whose_answer_is_lost_is_no_lost_lease_and_counts_once(upgraded_postgres_database: str, script: Any) -> None:
    url = make_url(upgraded_postgres_database)
    relay = postgres.Relay(str(url.host), int(url.port or 0))
    store = Store(Database(url.set(port=relay.port).render_as_string(hide_password=False)))

    class Loses(faults.ScriptedExtractor):
        def run(self, text: str, ontology_content: str, config: PipelineConfig) -> ExtractionResult:
            relay.loses_answer |= config.document_id == "b"
            return super().run(text, ontology_content, config)

    documents = [faults.document("a"), faults.document("b", **script), faults.document("c")]
    with Recorder(store, start(store, params(documents, concurrency=1, maxRetries=0, failurePolicy="retry-failed"))) as writing:
        legacy.orchestrator.run(writing, Loses())
    relay.close()
    batch, failed = store.batch("b"), int(bool(script))
    assert not relay.loses_answer
    assert (batch.status, batch.completed_documents, batch.failed_documents) == ("completed", 3 - failed, failed)
    ends = [
        event for _, event in events.stored_events(store.database, "b") if isinstance(event, DocumentCompleted | DocumentFailed)
    ]
    assert [event.document_id for event in ends] == ["a", "b", "c"]
    store.database.engine.dispose()
