"""A source as many batches: cut once, submitted once each, watched as one, and one graph in the end."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import stacks
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import State
from prefect.flow_engine import run_flow
from prefect.states import Crashed, Pending, Running

import faults
import flows
from compat import fan_outs
from compat.store import Store
from flows import deployed
from flows.fan_out import pages
from flows.operations import deployments

pytestmark = pytest.mark.usefixtures("prefect_server")

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def client(environment: pytest.MonkeyPatch) -> Iterator[SyncPrefectClient]:
    """A client of a server that has our deployments, and no worker: the test enters the runs itself."""
    deployments.apply(lambda line: None)
    with get_client(sync_client=True) as client:
        yield client
        for each in client.read_deployments():
            client.delete_deployment(each.id)


def enter(client: SyncPrefectClient, flow_run_id: str | None) -> State[Any]:
    """Enters a flow run as a worker's child does."""
    run_id = UUID(flow_run_id)
    client.set_flow_run_state(run_id, Pending(), force=True)
    run = client.read_flow_run(run_id)
    state = run_flow(deployed.fan_out_batch, flow_run=run, parameters=run.parameters, return_type="state")
    assert isinstance(state, State)
    return state


def where(fan_out_id: str) -> fan_outs.Standing:
    store = Store.from_settings()
    found = fan_outs.find(store.database, fan_out_id)
    assert found is not None
    return fan_outs.standing(store, found)


def submitted(done: "subprocess.CompletedProcess[str]") -> str:
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()[-1]


def test_a_source_becomes_batches_that_are_submitted_once_watched_as_one_and_resumed(
    client: SyncPrefectClient, command: Command, tmp_path: Path
) -> None:
    documents = [faults.document(f"d{number}", names=(f"name {number}", "Shared Name")) for number in range(5)]
    # All attempts of the one batch that it is alone in.
    documents.append(faults.document("unlucky", fail=4))
    documents.append(faults.document("last"))
    source = stacks.source(tmp_path / "source", documents)
    ask = ("fan-out", source, "--documents-per-batch", "2", "--fan-out-id", "night", "--mode", "legacy", "--concurrency", "1")
    assert submitted(command(*ask)) == "4 batches were submitted, 0 are under way already, 0 have ended"
    assert submitted(command(*ask)) == "0 batches were submitted, 4 are under way already, 0 have ended"
    parts = where("night").parts
    assert [(part.documents, part.submissions) for part in parts] == [(2, 1), (2, 1), (2, 1), (1, 1)]
    assert json.loads(command("status", "night", "--format", "json").stdout)["status"] == "pending"

    assert enter(client, parts[0].flow_run_id).message == "2 of 2 documents, 4 entities, 2 relations"
    assert json.loads(command("status", "night", "--format", "json").stdout)["batches"] == {"completed": 1, "waiting": 3}
    # Entered again, as after a suspension: nothing is done twice.
    assert enter(client, parts[0].flow_run_id).is_completed()
    # Its process is gone before it claimed the batch, and Prefect knows.
    client.set_flow_run_state(UUID(parts[1].flow_run_id), Crashed(message="killed"), force=True)
    # This one is at work for all that is known, and hasn't claimed yet.
    client.set_flow_run_state(UUID(parts[2].flow_run_id), Running(), force=True)
    assert submitted(command("resume", "night")) == "1 batches were submitted, 2 are under way already, 1 have ended"
    again = where("night").parts
    assert [part.submissions for part in again] == [1, 2, 1, 1]
    assert again[1].flow_run_id != parts[1].flow_run_id
    for part in again[1:]:
        enter(client, part.flow_run_id)
    assert faults.knocks() == {**{f"d{n}": 1 for n in range(5)}, "unlucky": 4, "last": 1}

    done = json.loads(command("status", "night", "--format", "json").stdout)
    assert (done["status"], done["completedDocuments"], done["failedDocuments"]) == ("completed", 6, 1)
    assert (done["entityCount"], done["unfinished"]) == (12, [])
    assert submitted(command("resume", "night")) == "0 batches were submitted, 0 are under way already, 4 have ended"
    shown = client.read_artifacts(
        artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(again[3].flow_run_id)]))
    )
    assert any(each.key == pages.artifact_key("night") and "night: completed" in str(each.data) for each in shown)


def test_a_submission_that_was_cut_off_before_it_was_stored_is_found_again(
    client: SyncPrefectClient, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = stacks.source(tmp_path / "source", [faults.document("a"), faults.document("b")])
    ask = ("fan-out", source, "--documents-per-batch", "1", "--fan-out-id", "cut off")

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fan_outs, "note_submission", dies)
        assert command(*ask).returncode != 0
    assert [part.flow_run_id for part in where("cut off").parts] == [None, None]
    assert submitted(command(*ask)).startswith("2 batches were submitted")
    runs = [run for run in client.read_flow_runs() if "fan-out:cut off" in run.tags]
    assert {str(run.id) for run in runs} == {part.flow_run_id for part in where("cut off").parts}
    assert len(runs) == 2


def test_what_failed_is_submitted_again_and_does_what_is_missing(
    client: SyncPrefectClient, command: Command, tmp_path: Path
) -> None:
    source = stacks.source(
        tmp_path / "source", [faults.document("a", fail=4), faults.document("ontology", fail=faults.ALWAYS, how="ontology")]
    )
    ask = ("fan-out", source, "--documents-per-batch", "1", "--fan-out-id", "failed")
    command(*ask)
    for part in where("failed").parts:
        assert enter(client, part.flow_run_id).is_failed()
    assert where("failed").status == "failed"
    # The other one's error stays, whoever tries.
    said = "1 batches were submitted, 0 are under way already, 0 have ended, and 1 failed of what another attempt can't change"
    assert submitted(command(*ask)) == said
    enter(client, where("failed").parts[0].flow_run_id)
    assert faults.knocks() == {"a": 5, "ontology": 1}
    assert [part.status for part in where("failed").parts] == ["completed", "failed"]


def test_the_graph_of_a_fan_out_is_that_of_one_batch_of_all_its_documents(
    client: SyncPrefectClient, command: Command, tmp_path: Path, request_of: Any
) -> None:
    names = ["Ada Lovelace", "Ada Lovelaces", "Apollo 11", "Apollo 12", "Babbage", "ada lovelace", "Babbage "]
    documents = [faults.document(f"d{number}", names=(name, "Shared Name")) for number, name in enumerate(names)]
    source = stacks.source(tmp_path / "source", documents)
    assert command("run", source, "--batch-id", "whole").returncode == 0
    command("fan-out", source, "--documents-per-batch", "3", "--fan-out-id", "parts")
    assert command("view", "parts", "--to", "graph.html").returncode == 5
    runs = [part.flow_run_id for part in where("parts").parts]
    enter(client, runs[0])
    done = command("export", "parts", "--to", "first.nt")
    assert "2 batches of parts are not completed, so the graph is not whole yet" in done.stderr
    for run in runs[1:]:
        enter(client, run)
    written = []
    for each in ("whole", "parts"):
        assert command("export", each, "--to", f"{each}.nt").returncode == 0
        written.append(sorted((tmp_path / f"{each}.nt").read_text(encoding="utf-8").splitlines()))
    assert written[0] == written[1]
    assert (tmp_path / "first.nt").read_text(encoding="utf-8").splitlines() != written[0]
    whole, parts = flows.graph_of("whole").entities(), flows.graph_of("parts").entities()
    assert whole.equals(parts)
    assert 0 < len(parts) < 14


def test_a_fan_out_that_is_cancelled_starts_no_further_batch(client: SyncPrefectClient, command: Command, tmp_path: Path) -> None:
    source = stacks.source(tmp_path / "source", [faults.document("a"), faults.document("b")])
    command("fan-out", source, "--documents-per-batch", "1", "--fan-out-id", "unwanted")
    parts = where("unwanted").parts
    enter(client, parts[0].flow_run_id)
    assert json.loads(command("cancel", "unwanted").stdout)["status"] == "cancelled"
    assert enter(client, parts[1].flow_run_id).is_cancelled()
    assert faults.knocks() == {"a": 1}
    done = command("resume", "unwanted")
    assert (done.returncode, "was cancelled" in done.stderr) == (2, True)


def test_an_id_is_refused_for_another_source_or_other_options(
    client: SyncPrefectClient, command: Command, tmp_path: Path
) -> None:
    source = stacks.source(tmp_path / "source", [faults.document("a"), faults.document("b")])
    ask = ("fan-out", source, "--documents-per-batch", "1", "--fan-out-id", "taken")
    assert command(*ask).returncode == 0
    lines = (Path(source) / "documents.jsonl").read_text(encoding="utf-8").splitlines()
    for text, wrong in (
        (lines[0], "more documents"),
        (lines[0] + "\n" + lines[1].replace('"b"', '"c"'), "batch 2 have changed"),
    ):
        (Path(source) / "documents.jsonl").write_text(text, encoding="utf-8")
        done = command(*ask)
        assert (done.returncode, wrong in done.stderr) == (2, True), done.stderr
    (Path(source) / "documents.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert "another mode" in command(*ask, "--mode", "engine").stderr
    assert "another documents_per_batch" in command(*ask[:3], "2", *ask[4:]).stderr
    assert command("status", "nobody").returncode == 5
    assert command(*ask).returncode == 0


def test_without_a_server_a_fan_out_is_refused_before_anything_is_stored(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    source = stacks.source(tmp_path / "source", [faults.document("a")])
    with temporary_settings({PREFECT_API_URL: None}):
        done = command("fan-out", source, "--fan-out-id", "nowhere")
    assert (done.returncode, "PREFECT_API_URL" in done.stderr) == (2, True)
    assert command("status", "nowhere").returncode == 5
