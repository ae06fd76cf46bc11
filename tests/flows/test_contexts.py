"""What a call finds out at its door, once: the extractor, and the flow run around it, whatever else was imported."""

import json
import signal
from typing import Any
from uuid import UUID

import processes
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import (
    PREFECT_API_REQUEST_TIMEOUT,
    PREFECT_CLIENT_MAX_RETRIES,
    Settings,
    get_current_settings,
    temporary_settings,
)
from prefect.states import Cancelling

import faults
import flows
from compat.errors import Exit
from compat.store import Store
from flows.engine import batch_flow
from flows.engine.changed_settings import _MADE, changed_settings

pytestmark = pytest.mark.usefixtures("prefect_server")

made: list[str] = []


class Counted(faults.ScriptedExtractor):
    """An extractor whose making is counted."""


def counted() -> faults.ScriptedExtractor:
    """The factory, as KNOWLEDGE_EXTRACTOR names it."""
    made.append("one")
    return Counted()


@pytest.mark.parametrize("mode", ["legacy", "engine", "rolled back"])
def test_the_extractors_factory_is_called_once_a_batch(mode: str, environment: pytest.MonkeyPatch, request_of: Any) -> None:
    environment.setenv("KNOWLEDGE_EXTRACTOR", f"{__name__}:counted")
    made.clear()
    if mode == "rolled back":

        def broken(*_: object) -> None:
            raise RuntimeError("the engine is broken")

        environment.setattr(batch_flow, "extract_pending", broken)
    request = request_of([faults.document("a", fail=1), faults.document("b")], mode)
    assert flows.run_batch(request, "legacy" if mode == "legacy" else "engine").success_count == 2
    assert Store.from_settings().batch(mode).rolled_back_from == ("engine" if mode == "rolled back" else None)
    assert made == ["one"]


def test_changed_settings_are_made_once_and_anew_where_what_they_are_made_of_has_changed(environment: pytest.MonkeyPatch) -> None:
    def changed(tries: int) -> Settings:
        with changed_settings({PREFECT_CLIENT_MAX_RETRIES: tries}):
            return get_current_settings()

    before = get_current_settings()
    first = changed(7)
    assert (first.client.max_retries, before.client.max_retries) == (7, get_current_settings().client.max_retries)
    assert changed(7) is first
    assert changed(8).client.max_retries == 8
    environment.setenv("PREFECT_CLIENT_METRICS_ENABLED", "true")
    assert (first.client.metrics.enabled, changed(7).client.metrics.enabled) == (False, True)
    with temporary_settings({PREFECT_API_REQUEST_TIMEOUT: 12.0}):
        inner = changed(7)
    assert (inner.client.max_retries, inner.api.request_timeout) == (7, 12.0)
    # As many as are in use at a time, whoever comes.
    for tries in range(100):
        changed(tries)
    assert len(_MADE) == _MADE.maxlen


def test_a_failed_batch_that_is_resumed_before_its_caller_goes_on_has_the_result_of_its_resume(
    environment: pytest.MonkeyPatch, request_of: Any
) -> None:
    run = batch_flow.run

    def resumed_meanwhile(*arguments: Any, **named: Any) -> None:
        run(*arguments, **named)
        flows.resume_batch("resumed", "legacy")

    environment.setattr(batch_flow, "run", resumed_meanwhile)
    # Fails at all attempts of its first budget.
    request = request_of([faults.document("a", fail=4)], "resumed")
    assert flows.run_batch(request, "engine").success_count == 1


THEIRS = """
import json, sys
from prefect import flow
from prefect.runtime import flow_run
from flows import run_batch

@flow(retries=0)
def theirs(request):
    print(flow_run.id, flush=True)
    run_batch(request, "legacy")

theirs(json.load(sys.stdin))
"""


@pytest.mark.usefixtures("environment")
def test_a_batch_of_legacy_hears_the_cancel_of_the_users_own_flow_run(request_of: Any) -> None:
    from prefect.settings import PREFECT_API_URL

    request = request_of([faults.document(f"d{number}", held=True) for number in range(40)], batch_id="theirs", concurrency=2)
    child = processes.start(
        THEIRS, request=json.dumps(request), PREFECT_API_URL=PREFECT_API_URL.value() or "", KNOWLEDGE_LEASE_SECONDS="2"
    )
    processes.wait_until(lambda: len(faults.knocks()) == 2)
    run_id = Store.from_settings().batch("theirs").flow_run_id
    assert run_id is not None
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(run_id), Cancelling(), force=True)
    processes.wait_until(lambda: Store.from_settings().batch("theirs").cancel_requested)
    faults.open_door()
    out, _ = child.communicate(timeout=processes.PATIENCE)
    assert out.split()[0] == run_id
    assert type(flows.get_status("theirs")).__name__ == "Cancelled"
    assert len(faults.knocks()) == 2


TAKEN = "import sys\nfrom flows.command.cli import main\nsys.argv = ['knowledge-batch', *sys.argv[1:]]\nmain()"


@pytest.mark.usefixtures("environment")
def test_a_run_that_was_taken_over_exits_as_in_conflict(request_of: Any, tmp_path: Any) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "ontology.ttl").write_text("<urn:test:Thing> a <http://www.w3.org/2002/07/owl#Class> .")
    held = [faults.document(f"d{number}", held=True) for number in range(3)]
    lines = [json.dumps({key: each[key] for key in ("documentId", "text")}) for each in held]
    (source / "documents.jsonl").write_text("\n".join(lines))
    child = processes.start(TAKEN, "run", str(source), "--batch-id", "taken", KNOWLEDGE_LEASE_SECONDS="1")
    processes.wait_until(lambda: len(faults.knocks()) == 3)
    # Its machine sleeps for longer than its lease, and another one takes the batch.
    child.send_signal(signal.SIGSTOP)
    store = Store(Store.from_settings().database, lease_seconds=1.0)
    processes.wait_until(lambda: store.batch("taken").dead)
    store.resume("taken", flows.current_mode())
    faults.open_door()
    child.send_signal(signal.SIGCONT)
    _, errors = child.communicate(timeout=processes.PATIENCE)
    assert child.returncode == Exit.ALREADY_RUNNING == 3, errors
    assert "no longer held by this run" in errors
