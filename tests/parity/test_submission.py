"""A shadow's submission can neither fail nor hold up the caller, and the batch's record says how it went."""

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from threading import Thread
from typing import Any

import processes
import psutil
import pytest
from prefect.client.orchestration import get_client
from sqlalchemy import text

import brokenprefect
import faults
import flows
from compat.store import Store, shadow_requests
from flows.shadow import submission
from flows.shadow.submission import SLOTS

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def without_deployments(prefect_server: None) -> None:
    """The server has none, whatever other tests of this process have left there."""
    with get_client(sync_client=True) as client:
        for each in client.read_deployments():
            client.delete_deployment(each.id)


def submitted(batch_id: str) -> shadow_requests.ShadowRequest:
    """How the submission of a shadow went, once it has gone."""
    database = Store.from_settings().database

    def settled() -> bool:
        found = shadow_requests.find(database, batch_id)
        return found is not None and (found.status != "requested" or found.reason is not None)

    processes.wait_until(settled)
    found = shadow_requests.find(database, batch_id)
    assert found is not None
    return found


def test_without_prefect_the_record_says_why_there_is_no_shadow(
    environment: pytest.MonkeyPatch, request_of: Any, tmp_path: Any
) -> None:
    environment.setenv("PREFECT_HOME", str(tmp_path / "no profile"))
    request = request_of([faults.document("a")], "alone")
    assert flows.run_batch(request, "shadow").success_count == 1
    assert submitted("alone").summary.startswith("refused: ShadowRefusedError: no PREFECT_API_URL")


@pytest.mark.usefixtures("without_deployments")
def test_a_shadow_that_a_closed_port_refused_is_tried_again(environment: pytest.MonkeyPatch, request_of: Any) -> None:
    with environment.context() as away:
        away.setenv("PREFECT_API_URL", brokenprefect.closed_port())
        assert flows.run_batch(request_of([faults.document("a")], "away"), "shadow").success_count == 1
        assert submitted("away").summary.startswith("requested: ConnectError")
    # As the flow `reconcile` does; this Prefect is there, and has no such deployment.
    assert submission.submit_waiting(Store.from_settings()) == ["away"]
    assert "ObjectNotFound" in submitted("away").summary


def test_a_server_that_hangs_holds_nobody_up(environment: pytest.MonkeyPatch, request_of: Any) -> None:
    took = timed_requests(environment)
    with brokenprefect.serving(brokenprefect.hang) as (api, came):
        environment.setenv("PREFECT_API_URL", api)
        for number in range(2 * SLOTS):
            assert flows.run_batch(request_of([faults.document("a")], f"held up {number}"), "shadow").success_count == 1
        # Its submission is there, and waits.
        processes.wait_until(lambda: len(came) >= SLOTS)
        standing = shadow_requests.find(Store.from_settings().database, "held up 0")
        assert standing is not None
        assert standing.status == "requested"
        assert len(shadow_requests.waiting(Store.from_settings().database)) == 2 * SLOTS
        # Of those that wait, no more than may.
        assert len(submitting_processes()) == SLOTS
        for child in submitting_processes():
            child.kill()
    assert max(took) < 0.5


@pytest.mark.parametrize(
    ("behave", "said"),
    [
        (brokenprefect.answer_slowly, "refused: PrefectHTTPStatusError"),
        (brokenprefect.crash, "requested: RemoteProtocolError"),
    ],
)
def test_a_server_that_is_slow_or_crashes_is_a_reason(
    environment: pytest.MonkeyPatch, request_of: Any, behave: Callable[[socket.socket], None], said: str
) -> None:
    took = timed_requests(environment)
    with brokenprefect.serving(behave) as (api, came):
        environment.setenv("PREFECT_API_URL", api)
        assert flows.run_batch(request_of([faults.document("a")], "broken there"), "shadow").success_count == 1
        assert submitted("broken there").summary.startswith(said)
        assert came
    assert max(took) < 0.5


@pytest.mark.slow
def test_a_server_that_hangs_is_a_reason_in_the_end(environment: pytest.MonkeyPatch, request_of: Any) -> None:
    with brokenprefect.serving(brokenprefect.hang) as (api, _):
        environment.setenv("PREFECT_API_URL", api)
        flows.run_batch(request_of([faults.document("a")], "patient"), "shadow")
        assert submitted("patient").summary.startswith("requested: ReadTimeout")


def timed_requests(environment: pytest.MonkeyPatch) -> list[float]:
    """How long callers are held up by each submission from now on, in seconds."""
    took: list[float] = []
    request = submission.request

    def timed(*arguments: Any) -> None:
        began = time.perf_counter()
        request(*arguments)
        took.append(time.perf_counter() - began)

    environment.setattr("flows.shadow.submission.request", timed)
    return took


def submitting_processes() -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE and "flows.shadow.submission" in child.cmdline()
    ]


@pytest.mark.usefixtures("without_deployments")
def test_a_server_without_the_deployment_is_a_reason(environment: pytest.MonkeyPatch, request_of: Any) -> None:
    from prefect.settings import PREFECT_API_URL

    environment.setenv("PREFECT_API_URL", PREFECT_API_URL.value() or "")
    flows.run_batch(request_of([faults.document("a")], "not deployed"), "shadow")
    assert "ObjectNotFound" in submitted("not deployed").summary


def test_a_submission_that_can_not_be_started_is_a_reason(
    environment: pytest.MonkeyPatch, request_of: Any, tmp_path: Any
) -> None:
    # An interpreter that is part of another program doesn't know of itself.
    for number, executable in enumerate([str(tmp_path / "no python"), None]):
        environment.setattr("sys.executable", executable)
        assert flows.run_batch(request_of([faults.document("a")], f"no process {number}"), "shadow").success_count == 1
        assert "no process to submit it could be started" in submitted(f"no process {number}").summary


def test_a_submission_without_a_thread_is_a_reason(environment: pytest.MonkeyPatch, request_of: Any) -> None:
    class NoThread(Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    environment.setattr(submission, "Thread", NoThread)
    assert flows.run_batch(request_of([faults.document("a")], "alone"), "shadow").success_count == 1
    assert "no process to submit it could be started: RuntimeError: can't start new thread" in submitted("alone").summary


def test_a_submission_that_waited_for_a_slot_and_can_not_be_started_is_a_reason(
    environment: pytest.MonkeyPatch, request_of: Any, tmp_path: Any
) -> None:
    environment.setattr("sys.executable", str(tmp_path / "no python"))
    with ExitStack() as every_slot:
        for _ in range(SLOTS):
            every_slot.enter_context(submission._FREE)
        assert flows.run_batch(request_of([faults.document("a")], "waits"), "shadow").success_count == 1
    assert "no process to submit it could be started" in submitted("waits").summary


def test_a_wish_that_can_not_be_written_fails_no_batch(environment: pytest.MonkeyPatch, request_of: Any) -> None:
    with Store.from_settings().database.write() as connection:
        connection.execute(text("DROP TABLE knowledge_shadow_submission"))
    assert flows.run_batch(request_of([faults.document("a")]), "shadow").success_count == 1
