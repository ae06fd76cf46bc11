"""A batch in shadow mode: legacy serves, the engine does the same where nobody looks, and the two are compared."""

import json
from threading import Thread
from typing import Any

import processes
import pytest
import sqlalchemy
from sqlalchemy import Connection, select, text, update

import brokenprefect
import faults
import flows
import postgres
from compat.contracts import BatchParams
from compat.errors import BatchAlreadyRunningError, BatchNotFoundError, PrefectUnavailableError, StoreUnavailableError
from compat.ids import content_hash
from compat.modes import Decision, Mode
from compat.parity import archive
from compat.parity.report import ParityReport, compare_batch
from compat.store import Store, shadow_requests
from compat.store.database import Database
from compat.store.schema import Base, BatchExecution, TapeRow, WorkflowExecution
from flows.engine.stops import STOPS
from flows.shadow import submission
from flows.shadow.comparison import run_shadow, shadow_batch

pytestmark = pytest.mark.usefixtures("prefect_server", "nobody_submits")

POLICIES = ("continue-on-failure", "abort-all", "retry-failed")


def shadow_of(batch_id: str, channel: Any = "tape") -> ParityReport:
    report = run_shadow(Store.from_settings(), Store.of_shadows(), batch_id, channel)
    assert report is not None
    return report


def hashes(connection: Connection) -> dict[str, str]:
    """A hash of all rows of every table."""
    return {
        table.name: content_hash(json.dumps(sorted(map(str, connection.execute(select(table)).all()))))
        for table in Base.metadata.sorted_tables
    }


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("script", ["mixed", "all-fail-always"])
def test_the_engine_agrees_with_legacy(environment: pytest.MonkeyPatch, request_of: Any, script: str, policy: str) -> None:
    batch = flows.run_batch(request_of(faults.SCRIPTS[script], failurePolicy=policy), "shadow").batch_id
    report = shadow_of(batch)
    assert (report.verdict, report.samples) == ("parity", {})
    assert report.documents == len(report.by_document) + report.documents > 0
    # The tape spoke: the extractor was asked by legacy alone.
    assert sum(faults.knocks().values()) == report.attempts


def test_an_empty_batch_is_no_evidence(environment: pytest.MonkeyPatch, request_of: Any) -> None:
    batch = flows.run_batch(request_of([]), "shadow").batch_id
    assert shadow_of(batch).verdict == "inconclusive"


def test_the_tape_is_off_outside_of_shadow_mode(environment: pytest.MonkeyPatch, request_of: Any) -> None:
    batch = flows.run_batch(request_of([faults.document("a", fail=1)]), "legacy").batch_id
    with Store.from_settings().database.read() as connection:
        assert connection.execute(select(TapeRow)).all() == []
    report = shadow_of(batch)
    assert (report.verdict, report.headline) == (
        "inconclusive",
        "the tape lacks 1 of legacy's attempts, so the engine could not do the same",
    )


def test_a_resumed_batch_is_compared_by_what_its_resumes_came_to(environment: pytest.MonkeyPatch, request_of: Any) -> None:
    documents = [faults.document("a"), faults.document("b", fail=5)]
    batch = flows.run_batch(request_of(documents, failurePolicy="abort-all"), "shadow").batch_id
    assert type(flows.get_status(batch)).__name__ == "Completed"
    documents = [faults.document("c", fail=5), faults.document("d", fail=5)]
    batch = flows.run_batch(request_of(documents), "shadow").batch_id
    assert type(flows.get_status(batch)).__name__ == "Failed"
    assert flows.resume_batch(batch, "shadow").success_count == 2
    report = shadow_of(batch)
    assert (report.verdict, report.samples) == ("parity", {})


def test_a_shadow_changes_no_row_that_anybody_reads(environment: pytest.MonkeyPatch, request_of: Any) -> None:
    batch = flows.run_batch(request_of(faults.SCRIPTS["mixed"], failurePolicy="retry-failed"), "shadow").batch_id
    main = Store.from_settings()
    with main.database.read() as connection:
        before = hashes(connection)
    told = [event.model_dump() for event in flows.subscribe(batch)]
    shadow_of(batch)
    with main.database.read() as connection:
        assert hashes(connection) == before
        # As the old readers ask for a batch.
        asked = select(WorkflowExecution.id).where(
            WorkflowExecution.workflow_type == "batch_extraction", WorkflowExecution.input["batchId"].as_string() == batch
        )
        assert len(connection.execute(asked).all()) == 1
    assert [event.model_dump() for event in flows.subscribe(batch)] == told


def test_a_role_that_may_only_read_the_main_tables_runs_shadows(
    environment: pytest.MonkeyPatch, postgres_database: str, request_of: Any
) -> None:
    environment.setenv("KNOWLEDGE_DATABASE_URL", postgres_database)
    # Without a schema for shadows, which is the role's to make.
    Database(postgres_database, upgrade=True)
    batch = flows.run_batch(request_of(faults.SCRIPTS["mixed"]), "shadow").batch_id
    url = sqlalchemy.make_url(postgres_database)
    role = f"shadows_{url.database}"
    main = Store.from_settings()
    with main.database.write() as connection:
        for statement in (
            f"CREATE ROLE {role} LOGIN PASSWORD 'x'",
            f"CREATE SCHEMA knowledge_shadow AUTHORIZATION {role}",
            f"GRANT USAGE ON SCHEMA public TO {role}",
            f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}",
        ):
            connection.exec_driver_sql(statement)
    limited = url.set(username=role, password="x")  # noqa: S106 -- of a database that lives as long as this test
    environment.setenv("KNOWLEDGE_DATABASE_URL", limited.render_as_string(hide_password=False))
    postgres.upgrade(limited.render_as_string(hide_password=False))
    assert shadow_of(batch).verdict == "parity"
    with pytest.raises(StoreUnavailableError, match="permission denied"), Store.from_settings().database.write() as one:
        one.execute(update(BatchExecution).values(status="failed"))
    Store.from_settings().database.engine.dispose()
    Store.of_shadows().database.engine.dispose()
    with main.database.write() as connection:
        connection.exec_driver_sql(f"DROP OWNED BY {role}")
        connection.exec_driver_sql(f"DROP ROLE {role}")


def test_a_shadow_that_is_at_work_has_its_batch_for_itself(environment: pytest.MonkeyPatch, request_of: Any) -> None:
    request = request_of([faults.document("a")], "busy")
    flows.run_batch(request, "shadow")
    Store.of_shadows().claim(BatchParams.parse(request), Decision(Mode.ENGINE, "another shadow"))
    with pytest.raises(BatchAlreadyRunningError):
        shadow_of("busy")


def test_what_has_not_ended_or_is_not_there_has_no_shadow(environment: pytest.MonkeyPatch, request_of: Any) -> None:
    Store.from_settings().claim(BatchParams.parse(request_of([faults.document("a")], "open")), Decision(Mode.SHADOW, "a test"))
    with pytest.raises(BatchAlreadyRunningError):
        shadow_of("open")
    with pytest.raises(BatchNotFoundError):
        shadow_of("nobody's")


def test_a_shadow_of_an_earlier_generation_is_superseded(environment: pytest.MonkeyPatch, request_of: Any) -> None:
    flows.run_batch(request_of([faults.document("a", fail=5)], "resumed"), "shadow")
    flows.resume_batch("resumed", "shadow")
    assert shadow_batch("resumed", 0, return_state=True).name == "Superseded"
    assert archive.reports(Store.of_shadows().database) == []
    assert shadow_batch("resumed", 1, return_state=True).name == "Parity"


def test_a_batch_that_is_resumed_while_its_shadow_is_at_work_is_not_reported(
    environment: pytest.MonkeyPatch, request_of: Any
) -> None:
    flows.run_batch(request_of([faults.document("a", fail=5)], "resumed"), "shadow")

    def resumed_before(*arguments: Any, **options: Any) -> ParityReport:
        flows.resume_batch("resumed", "shadow")
        return compare_batch(*arguments, **options)

    environment.setattr("flows.shadow.comparison.compare_batch", resumed_before)
    assert run_shadow(Store.from_settings(), Store.of_shadows(), "resumed", "tape") is None
    assert archive.reports(Store.of_shadows().database) == []


# --- No ground for a comparison -------------------------------------------------------------------------------------------


def interrupted(request: dict[str, Any], mode: str) -> None:
    """Runs a batch that is told to stop once its documents are in work."""
    flows.start_batch(request, mode)
    processes.wait_until(lambda: bool(faults.knocks()))
    STOPS.ask_all("Interrupted by a test")
    faults.open_door()
    processes.wait_until(lambda: type(flows.get_status(request["batchId"])).__name__ == "Failed")


def test_a_batch_that_did_not_run_to_its_end_has_no_shadow_and_is_no_evidence(
    environment: pytest.MonkeyPatch, request_of: Any
) -> None:
    interrupted(request_of([faults.document(f"d{number}", held=True) for number in range(9)], "cut short"), "shadow")
    submission.submit(Store.from_settings(), "cut short", 0)
    request = shadow_requests.find(Store.from_settings().database, "cut short")
    assert request is not None
    assert "refused: it did not run to its end: Interrupted by a test" in request.summary
    report = shadow_of("cut short")
    assert (report.verdict, report.documents) == ("inconclusive", 0)
    assert flows.resume_batch("cut short", "shadow").success_count == 9
    assert shadow_of("cut short").verdict == "parity"


def test_the_engine_is_not_compared_with_itself(environment: pytest.MonkeyPatch, request_of: Any) -> None:
    flows.run_batch(request_of([faults.document("a")], "its own"), "engine")
    assert shadow_of("its own").verdict == "inconclusive"
    flows.run_batch(request_of([faults.document("b", fail=5)], "in part"), "engine")
    flows.resume_batch("in part", "shadow")
    assert shadow_of("in part").headline == "the engine had a hand in it, and can't be compared with itself"


def test_an_engine_that_fails_on_what_legacy_served_is_a_divergence(environment: pytest.MonkeyPatch, request_of: Any) -> None:
    flows.run_batch(request_of([faults.document("a")], "crashing"), "shadow")

    def crash(*_: Any) -> None:
        raise RuntimeError("the engine broke")

    environment.setattr("flows.engine.batch_flow.extract_pending", crash)
    with pytest.raises(RuntimeError, match="the engine broke"):
        shadow_of("crashing")
    [report] = archive.reports(Store.of_shadows().database, "crashing")
    assert (report.verdict, report.counts["R1"]) == ("diverged", 1)
    assert "the engine broke" in report.headline


def test_a_prefect_that_is_away_says_nothing_of_the_engine(environment: pytest.MonkeyPatch, request_of: Any) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    flows.run_batch(request_of([faults.document("a")], "unheard"), "shadow")
    with temporary_settings({PREFECT_API_URL: brokenprefect.closed_port()}), pytest.raises(PrefectUnavailableError):
        shadow_of("unheard")
    assert archive.reports(Store.of_shadows().database) == []


def test_a_shadow_that_is_cancelled_is_no_evidence(environment: pytest.MonkeyPatch, request_of: Any) -> None:
    faults.open_door()
    flows.run_batch(request_of([faults.document(f"d{number}", held=True) for number in range(9)], "cancelled there"), "shadow")
    faults.close_door()
    before = sum(faults.knocks().values())

    def cancel() -> None:
        processes.wait_until(lambda: sum(faults.knocks().values()) > before)
        Store.of_shadows().cancel("cancelled there")
        faults.open_door()

    canceller = Thread(target=cancel)
    canceller.start()
    report = shadow_of("cancelled there", "live")
    canceller.join()
    assert (report.verdict, report.headline) == (
        "inconclusive",
        "its shadow did not run to its end: Batch cancelled by user",
    )
    assert type(flows.get_status("cancelled there")).__name__ == "Completed"


def test_every_comparison_is_kept(environment: pytest.MonkeyPatch, request_of: Any) -> None:
    batch = flows.run_batch(request_of([faults.document("a")]), "shadow").batch_id
    first, second = shadow_of(batch), shadow_of(batch)
    assert archive.reports(Store.of_shadows().database, batch) == [second, first]


def test_a_cancelled_batch_has_no_shadow(environment: pytest.MonkeyPatch, request_of: Any) -> None:
    request = request_of([faults.document(f"d{number}", held=True) for number in range(9)], "cancelled")
    flows.start_batch(request, "shadow")
    processes.wait_until(lambda: bool(faults.knocks()))
    flows.cancel_batch("cancelled")
    faults.open_door()
    processes.wait_until(lambda: Store.from_settings().has_ended("cancelled"))
    submission.submit(Store.from_settings(), "cancelled", 0)
    request = shadow_requests.find(Store.from_settings().database, "cancelled")
    assert request is not None
    assert "was cancelled" in request.summary


def test_a_tape_that_can_not_be_written_fails_no_document(environment: pytest.MonkeyPatch, request_of: Any) -> None:
    with Store.from_settings().database.write() as connection:
        connection.execute(text("DROP TABLE knowledge_tape"))
    batch = flows.run_batch(request_of([faults.document("a"), faults.document("b", fail=1)]), "shadow")
    assert batch.success_count == 2
