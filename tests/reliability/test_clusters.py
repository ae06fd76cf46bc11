"""Extractors on a Dask or Ray cluster: the same outcomes as in threads, and a worker that dies costs one attempt."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import processes
import psutil
import pytest

import faults
import flows
from compat.errors import InvalidInputError
from compat.store import Store
from compat.store.overview import overview
from tasks.run_on.answers import ClusterUnavailableError

# A cluster is several processes that take seconds to start.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("clusters")]
ONCE = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def dask(*arguments: str, folder: Path, **variables: str) -> "subprocess.Popen[bytes]":
    # In a folder of its own, whose modules the process finds first.
    with (folder / "dask.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *arguments],
            env=processes.environment(**variables),
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


@contextmanager
def dask_cluster(folder: Path, workers: int = 2, **variables: str) -> Iterator[str]:
    """The address of a scheduler with workers of one thread."""
    folder.mkdir()
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    started = [
        dask("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard", folder=folder, **variables),
        *(
            dask("worker", address, "--nthreads", "1", "--no-dashboard", "--death-timeout", "60", folder=folder, **variables)
            for _ in range(workers)
        ),
    ]
    try:
        yield address
    finally:
        for each in started:
            os.killpg(each.pid, signal.SIGKILL)
            each.wait()


@contextmanager
def ray_cluster(folder: Path) -> Iterator[str]:
    folder.mkdir()
    port = free_port()
    ray = [str(Path(sys.executable).with_name("ray"))]
    variables = processes.environment(RAY_DISABLE_TELEMETRY="1", RAY_USAGE_STATS_ENABLED="0")
    # Its sockets lie there, and their paths must be short.
    sockets = tempfile.mkdtemp(prefix="ray")
    options = [f"--port={port}", "--num-cpus=2", "--include-dashboard=false", f"--temp-dir={sockets}", "--disable-usage-stats"]
    options += ["--node-ip-address=127.0.0.1", "--object-store-memory=100000000", "--block"]
    with (folder / "ray.log").open("ab") as log:
        head = subprocess.Popen(
            [*ray, "start", "--head", *options], env=variables, stdout=log, stderr=log, start_new_session=True
        )
    try:
        processes.wait_until(lambda: "Ray runtime started" in (folder / "ray.log").read_text())
        yield f"127.0.0.1:{port}"
    finally:
        children = psutil.Process(head.pid).children(recursive=True)
        for each in [psutil.Process(head.pid), *children]:
            if each.is_running():
                each.kill()
        head.wait()
        shutil.rmtree(sockets, ignore_errors=True)


@pytest.fixture
def cluster(request: pytest.FixtureRequest, environment: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    pytest.importorskip("distributed" if request.param == "dask" else "ray")
    made = dask_cluster(tmp_path / "dask", **ONCE) if request.param == "dask" else ray_cluster(tmp_path / "ray")
    with made as address:
        environment.setenv("KNOWLEDGE_RUN_ON", request.param)
        environment.setenv("KNOWLEDGE_CLUSTER", address)
        yield str(request.param)


on_both = pytest.mark.parametrize("cluster", ["dask", "ray"], indirect=True)


@pytest.mark.usefixtures("prefect_server")
@on_both
@pytest.mark.parametrize("mode", ["legacy", "engine"])
def test_a_worker_that_dies_costs_its_document_one_attempt_and_the_others_none(mode: str, cluster: str, request_of: Any) -> None:
    documents = [faults.document("once", fail=1, how="killed"), faults.document("twice", fail=2, how="killed")]
    documents += [faults.document(f"well {number}", seconds=0.1) for number in range(6)]
    documents += [
        faults.document("ontology", fail=faults.ALWAYS, how="ontology"),
        faults.document("garbage", fail=1, how="garbage"),
    ]
    result = flows.run_batch(
        request_of(documents, batch_id="apart", concurrency=4, failurePolicy="retry-failed", maxRetries=1), mode
    )
    batch = Store.from_settings().batch("apart")
    assert (batch.mode, batch.rolled_back_from) == (mode, None)
    # Neither Dask nor Ray came to a door by itself.
    assert faults.knocks() == {"once": 2, "twice": 2, **{f"well {n}": 1 for n in range(6)}, "ontology": 1, "garbage": 2}
    failed = {each.document_id: each.result.error for each in result.document_results if not each.result.ok}
    assert set(failed) == {"twice", "ontology"}
    assert failed["twice"].startswith("ExtractorProcessDiedError: ")
    assert failed["ontology"].startswith("OntologyParseError: ")


@on_both
def test_the_order_is_the_requests_and_the_graphs_are_those_of_threads(
    cluster: str, environment: pytest.MonkeyPatch, request_of: Any
) -> None:
    environment.setenv("KNOWLEDGE_EXTRACTOR", "rules")
    ontology = "@prefix owl: <http://www.w3.org/2002/07/owl#> . <http://e/City> a owl:Class . <http://e/River> a owl:Class ."
    texts = ["Paris is a city. The city lies on the river Seine.", "", "Rome is a city."] * 3
    documents = [{"documentId": f"d{number}", "text": text, "ontologyContent": ontology} for number, text in enumerate(texts)]
    graphs = []
    for where in (cluster, "threads"):
        environment.setenv("KNOWLEDGE_RUN_ON", where)
        result = flows.run_batch(request_of(documents, batch_id=where, concurrency=3), "legacy")
        assert [each.document_id for each in result.document_results] == [each["documentId"] for each in documents]
        graphs.append([each.result.extraction.graph for each in result.document_results])
    assert graphs[0] == graphs[1]
    assert any(graph.entities for graph in graphs[0])


@on_both
def test_the_callers_signals_stay_the_callers(cluster: str, request_of: Any) -> None:
    of_caller = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        mine = signal.getsignal(signal.SIGTERM)
        flows.run_batch(request_of([faults.document("one")]), "legacy")
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, of_caller)


@on_both
def test_a_cancelled_batch_ends_with_the_documents_in_work(cluster: str, request_of: Any) -> None:
    documents = [faults.document(f"d{number}", held=True) for number in range(6)]
    flows.start_batch(request_of(documents, batch_id="cancelled", concurrency=2), "legacy")
    processes.wait_until(lambda: len(faults.knocks()) == 2)
    flows.cancel_batch("cancelled")
    faults.open_door()
    processes.wait_until(lambda: Store.from_settings().has_ended("cancelled"))
    assert type(flows.get_status("cancelled")).__name__ == "Cancelled"
    assert len(faults.knocks()) == 2


def test_a_worker_that_is_told_to_end_costs_its_document_one_attempt(
    environment: pytest.MonkeyPatch, tmp_path: Path, request_of: Any
) -> None:
    """Dask gives the document of a worker that leaves in peace to another, and calls that no failure."""
    pytest.importorskip("distributed")
    with dask_cluster(tmp_path / "dask", workers=1, **ONCE) as address:
        environment.setenv("KNOWLEDGE_RUN_ON", "dask")
        environment.setenv("KNOWLEDGE_CLUSTER", address)
        flows.start_batch(
            request_of([faults.document("held", held=True)], batch_id="b", failurePolicy="retry-failed", maxRetries=1), "legacy"
        )
        processes.wait_until(lambda: faults.knocks()["held"] == 1)
        from distributed import Client

        with Client(address, set_as_default=False) as client:
            other = dask("worker", address, "--nthreads", "1", "--no-dashboard", "--death-timeout", "60", folder=tmp_path, **ONCE)
            processes.wait_until(lambda: len(client.nthreads()) == 2)
            [worker] = [each for each in client.processing() if client.processing()[each]]
            client.retire_workers([worker], close_workers=True)
        processes.wait_until(lambda: faults.knocks()["held"] == 2)
        faults.open_door()
        processes.wait_until(lambda: Store.from_settings().has_ended("b"))
        other.terminate()
        other.wait()
    # Each came to the door for an attempt of ours.
    [document] = overview(Store.from_settings(), "b").documents
    assert (document.error, document.attempts, faults.knocks()) == (None, 2, {"held": 2})


def test_a_scheduler_that_repeats_documents_is_refused(environment: pytest.MonkeyPatch, tmp_path: Path, request_of: Any) -> None:
    pytest.importorskip("distributed")
    with dask_cluster(tmp_path / "dask", workers=0) as address:
        environment.setenv("KNOWLEDGE_RUN_ON", "dask")
        environment.setenv("KNOWLEDGE_CLUSTER", address)
        with pytest.raises(InvalidInputError, match="DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=0"):
            flows.run_batch(request_of([faults.document("one")]), "legacy")
    assert flows.list_batches() == []


@pytest.mark.parametrize("where", ["dask", "ray"])
def test_a_cluster_that_is_away_or_not_named_is_refused_before_anything_is_written(
    where: str, environment: pytest.MonkeyPatch, request_of: Any
) -> None:
    pytest.importorskip("distributed" if where == "dask" else "ray")
    environment.setenv("KNOWLEDGE_RUN_ON", where)
    request = request_of([faults.document("one")])
    with pytest.raises(InvalidInputError, match="KNOWLEDGE_CLUSTER"):
        flows.run_batch(request, "legacy")
    environment.setenv("KNOWLEDGE_CLUSTER", "tcp://127.0.0.1:9" if where == "dask" else "127.0.0.1:9")
    with pytest.raises(ClusterUnavailableError, match="KNOWLEDGE_CLUSTER"):
        flows.run_batch(request, "legacy")
    assert flows.list_batches() == []
