"""What a person sees of a batch in Prefect: the builders alone, then at real flow runs."""

import json
import logging
import os
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import UUID

import certifi
import processes
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, FlowRunFilter, FlowRunFilterId
from prefect.settings import PREFECT_API_SSL_CERT_FILE, PREFECT_API_TLS_INSECURE_SKIP_VERIFY, temporary_settings
from records import NOW, record

import faults
import flows
from compat.contracts import BatchFailed, DocumentCompleted, DocumentFailed, ResolutionStarted
from compat.store import Store
from compat.store.overview import DocumentLine, Overview, overview
from flows.engine import publishing

BATCH = record(
    status="completed",
    completed_documents=2,
    failed_documents=1,
    entity_count=8,
    relation_count=5,
    completed_at=NOW + timedelta(seconds=1.25),
)
LINES = (DocumentLine("bad", 4, None, None, "FlakyServiceError: no"), DocumentLine("good", 1, 4, 2, None))


def test_a_summary_says_counts_time_mode_and_why() -> None:
    said = publishing.summary(BATCH)
    assert "| Documents | 3 of 3: 2 extracted, 1 failed |" in said
    assert "| Mode | engine, asked for by the caller |" in said
    assert "| Time | 1.2 s |" in said


@pytest.mark.parametrize(("status", "verb"), [("completed", "export"), ("cancelled", "export"), ("failed", "resume")])
def test_a_summary_names_the_next_command(status: str, verb: str) -> None:
    commands = publishing.summary(replace(BATCH, status=status)).split("```sh\n")[1].splitlines()
    assert commands[0].startswith(f"knowledge-batch {verb} 'b 1'")


def test_a_summary_offers_to_run_failed_documents_again() -> None:
    again = "knowledge-batch run --failed-of 'b 1'"
    assert again in publishing.summary(replace(BATCH, status="completed"))
    assert again not in publishing.summary(replace(BATCH, status="completed", failed_documents=0))


def test_a_summary_advises_no_resume_that_can_change_nothing() -> None:
    assert "resume" not in publishing.summary(replace(BATCH, status="failed"), resumable=False)


def test_a_summary_says_what_of_its_source_was_not_read() -> None:
    assert "| Source | 1 file was not read: data.bin |" in publishing.summary(BATCH, notes=["1 file was not read: data.bin"])


def test_a_summary_says_what_entities_were_merged_to_and_shows_the_graphs_head() -> None:
    said = publishing.summary(BATCH, 3, "the head")
    assert "| Entities | 3 (8 in documents) |" in said
    assert said.endswith("\n\nthe head")
    assert "8 in documents, not merged" in publishing.summary(BATCH)
    unresolved = publishing.summary(replace(BATCH, resolution_error="MemoryError: "))
    assert "| Not merged | MemoryError: |" in unresolved.replace("  ", " ")


def test_a_text_with_markup_stays_in_its_cell() -> None:
    said = publishing.summary(replace(BATCH, error="a | b\n<script>"))
    assert "| Reason | a \\| b &lt;script&gt; |" in said


def test_a_table_says_how_many_documents_it_leaves_out() -> None:
    rows = publishing.table(Overview(replace(BATCH, completed_documents=1999), LINES))
    assert [row["document"] for row in rows[:2]] == ["bad", "good"]
    assert rows[-1]["document"].startswith("… and 1998 more")
    assert len({tuple(row) for row in rows}) == 1


def test_a_table_of_everything_leaves_nothing_out() -> None:
    assert len(publishing.table(Overview(replace(BATCH, completed_documents=1), LINES))) == 2


def test_an_empty_batch_is_done_when_it_has_ended() -> None:
    empty = replace(BATCH, total_documents=0, completed_documents=0, failed_documents=0)
    assert publishing.percent(empty) == 100
    assert publishing.percent(replace(empty, status="running")) == 0
    assert publishing.percent(replace(BATCH, completed_documents=0)) == 33.3


def test_a_long_document_under_way_counts_for_its_part() -> None:
    assert publishing.percent(replace(BATCH, completed_documents=0), under_way=0.5) == 50.0
    assert publishing.percent(replace(BATCH, completed_documents=2), under_way=1.0) == 100.0


def test_a_line_bears_the_ids_of_batch_and_document() -> None:
    failed = publishing.line(DocumentFailed(batch_id="b", document_id="d", error="no"))
    assert failed == (logging.WARNING, "batch b: document d: no")
    done = publishing.line(DocumentCompleted(batch_id="b", document_id="d", entity_count=1, relation_count=2))
    assert done == (logging.INFO, "batch b: document d: extracted, 1 entities and 2 relations")
    assert publishing.line(BatchFailed(batch_id="b", error="no", failed_documents=1)) == (logging.ERROR, "batch b: no")
    assert publishing.line(ResolutionStarted(batch_id="b")) is None


def test_failed_documents_come_first_and_no_more_than_asked_for(environment: pytest.MonkeyPatch, request_of: Any) -> None:
    documents = [faults.document("a"), faults.document("b", fail=faults.ALWAYS, how="ontology"), faults.document("c")]
    flows.run_batch(request_of(documents, "seen"))
    seen = overview(Store.from_settings(), "seen", most=2)
    batch = seen.batch
    assert [line.document_id for line in seen.documents] == ["b", "a"]
    assert [line.error is None for line in seen.documents] == [False, True]
    assert [line.entity_count for line in seen.documents] == [None, 2]
    assert (batch.finished_documents, batch.status, batch.mode, batch.mode_reason) == (3, "completed", "legacy", "the default")


# --- At real flow runs ------------------------------------------------------------------------------------------------


def shown_at(flow_run_id: str) -> dict[str, Any]:
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(flow_run_id)]))
        )
    return {str(artifact.key): artifact.data for artifact in found}


def flow_run_of(batch_id: str) -> str:
    from sqlalchemy import select

    from compat.store.schema import BatchRun

    with Store.from_settings().database.read() as connection:
        return str(connection.execute(select(BatchRun.flow_run_id).where(BatchRun.batch_id == batch_id)).scalar_one())


def events_of(batch_id: str) -> list[str]:
    with get_client(sync_client=True) as client:
        body = {"filter": {"resource": {"id": [f"knowledge.batch.{batch_id}"]}}}
        found = client.request("POST", "/events/filter", json=body).json()["events"]
    return [event["event"] for event in sorted(found, key=lambda event: str(event["occurred"]))]


def test_an_engine_batch_leaves_its_summary_its_documents_and_its_events(
    prefect_server: None, environment: pytest.MonkeyPatch, request_of: Any, tmp_path: Any
) -> None:
    batch_id = f"shown {tmp_path.name}"
    flows.run_batch(
        request_of([faults.document("a"), faults.document("b", fail=faults.ALWAYS, how="ontology")], batch_id), "engine"
    )
    shown = shown_at(flow_run_of(batch_id))
    assert shown["batch-summary"].startswith(f"## Batch {batch_id}: completed")
    assert [row["document"] for row in json.loads(shown["batch-documents"])] == ["b", "a"]
    processes.wait_until(lambda: events_of(batch_id) == ["knowledge.batch.created", "knowledge.batch.completed"])


@pytest.mark.parametrize(
    ("policy", "concurrency", "named"),
    [
        # Behind a document in trouble a further lane takes its place, where documents are left.
        ("continue-on-failure", 2, ["b", "d", "lane 1 of 2", "lane 2 of 2"]),
        ("abort-all", 2, ["b", "d"]),
        ("retry-failed", 1, ["lane 1 of 1: b, d"]),
    ],
)
def test_a_task_run_is_named_after_its_lane_or_the_document_in_trouble(
    policy: str, concurrency: int, named: list[str], prefect_server: None, environment: pytest.MonkeyPatch, request_of: Any
) -> None:
    documents = [
        faults.document("a", seconds=0.2),
        faults.document("b", fail=1),
        faults.document("c", seconds=1.0),
        faults.document("d", fail=faults.ALWAYS, how="ontology"),
        faults.document("e", seconds=0.2),
    ]
    batch_id = f"named under {policy}"
    flows.run_batch(request_of(documents, batch_id, failurePolicy=policy, concurrency=concurrency), "engine")
    of_run = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(flow_run_of(batch_id))]))

    def names() -> list[str]:
        with get_client(sync_client=True) as client:
            found = {run.name: run.state for run in client.read_task_runs(flow_run_filter=of_run)}
        # Task runs come late.
        ended = all(state is not None and state.is_final() for state in found.values())
        return sorted(name for name in found if not name.startswith("resolve-entities")) if ended else []

    processes.wait_until(lambda: names() == named)


@pytest.mark.parametrize("mode", ["legacy", "engine"])
def test_a_batch_that_is_cancelled_is_told(
    mode: str, prefect_server: None, environment: pytest.MonkeyPatch, request_of: Any, tmp_path: Any
) -> None:
    environment.setenv("KNOWLEDGE_LEASE_SECONDS", "2")
    batch_id = f"called off {tmp_path.name}"
    source = request_of([faults.document(f"d{number}", held=True) for number in range(9)], batch_id)

    @flow(retries=0)
    def served() -> None:
        with publishing.publish_progress(Store.from_settings(), batch_id):
            flows.run_batch(source, mode)

    def cancel() -> None:
        processes.wait_until(lambda: bool(faults.knocks()))
        flows.cancel_batch(batch_id)
        faults.open_door()

    cancelling = Thread(target=cancel)
    cancelling.start()
    served()
    cancelling.join()
    processes.wait_until(lambda: events_of(batch_id) == ["knowledge.batch.created", "knowledge.batch.cancelled"])


def test_a_long_batch_shows_its_progress(prefect_server: None, environment: pytest.MonkeyPatch, request_of: Any) -> None:
    documents = [faults.document(f"d{number}", seconds=0.5) for number in range(6)]
    flows.run_batch(request_of(documents, "long", concurrency=1), "engine")
    assert shown_at(flow_run_of("long"))["batch-progress"] == 100


def test_a_resumed_batch_is_not_told_as_new(
    prefect_server: None, environment: pytest.MonkeyPatch, request_of: Any, tmp_path: Any
) -> None:
    batch_id = f"again {tmp_path.name}"
    flows.run_batch(request_of([faults.document("a", fail=4)], batch_id), "legacy")
    flows.resume_batch(batch_id, "engine")
    processes.wait_until(lambda: bool(events_of(batch_id)))
    assert events_of(batch_id) == ["knowledge.batch.completed"]


def test_a_batch_whose_showing_fails_is_served_all_the_same(
    prefect_server: None, environment: pytest.MonkeyPatch, request_of: Any, caplog: pytest.LogCaptureFixture
) -> None:
    # No number of documents that a database would take.
    environment.setattr(publishing, "MOST_DOCUMENTS", "not a number")
    with caplog.at_level(logging.DEBUG, "knowledge_batch"):
        assert flows.run_batch(request_of([faults.document("a")], "refused"), "engine").success_count == 1
    assert "batch refused is not published in Prefect any more" in caplog.text


def test_a_rollback_is_told(prefect_server: None, environment: pytest.MonkeyPatch, request_of: Any, tmp_path: Any) -> None:
    batch_id = f"rolled {tmp_path.name}"
    environment.setattr("flows.engine.batch_flow.extract_pending", broken)
    assert flows.run_batch(request_of([faults.document("a")], batch_id), "engine").success_count == 1
    processes.wait_until(lambda: "knowledge.batch.rolled_back" in events_of(batch_id))
    assert "knowledge.batch.failed" not in events_of(batch_id)


def broken(*_: object) -> None:
    raise OSError("the task runner is broken")


def test_nothing_is_told_where_no_server_stays(environment: pytest.MonkeyPatch, tmp_path: Any, request_of: Any) -> None:
    program = (
        "import json, sys, flows\n"
        "from flows.engine import publishing\n"
        "publishing.emit = lambda *_: print('told')\n"
        "flows.run_batch(json.load(sys.stdin), 'engine')\n"
    )
    child = processes.start(
        program,
        request=json.dumps(request_of([faults.document("a")])),
        PREFECT_HOME=str(tmp_path / "prefect"),
        PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL="CRITICAL",
    )
    out, _ = child.communicate(timeout=180)
    assert (child.returncode, out) == (0, "")


def test_a_servers_certificates_are_those_of_prefects_settings_as_they_are_now(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    with temporary_settings({PREFECT_API_SSL_CERT_FILE: str(file), PREFECT_API_TLS_INSECURE_SKIP_VERIFY: True}):
        # Nothing is verified, so the file is not read.
        assert publishing._verification() is False
    with temporary_settings({PREFECT_API_SSL_CERT_FILE: str(file)}):
        with pytest.raises(FileNotFoundError):
            publishing._verification()
        shutil.copyfile(certifi.where(), file)
        first = publishing._verification()
        assert publishing._verification() is first
        os.utime(file, ns=(1, 1))
        assert publishing._verification() is not first
