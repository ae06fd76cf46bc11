"""Real processes for tests: Python programs that see the tests' parts, and a Prefect server that may be killed."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

import faults

# How many seconds a test waits for what has to come. No test that passes waits so long, on a busy machine either.
PATIENCE = 180.0

# Runs one batch whose request comes on stdin, in the mode of the first argument.
RUN = "import json, sys, flows; flows.run_batch(json.load(sys.stdin), sys.argv[1])"


def environment(**variables: str) -> dict[str, str]:
    """This process's environment for a child that imports what the tests import."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(faults.__file__).parent), *sys.path]), **variables}


def start(program: str, *arguments: str, request: str = "", **variables: str) -> "subprocess.Popen[str]":
    """Starts a Python program with ``request`` on its stdin."""
    child = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**variables),
    )
    assert child.stdin is not None
    child.stdin.write(request)
    child.stdin.close()
    child.stdin = None
    return child


def wait_until(condition: Callable[[], bool], seconds: float = PATIENCE, pause: float = 0.03) -> float:
    """Waits for a condition, looking every ``pause`` seconds, and returns how long that took. Fails after ``seconds``."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"not after {seconds} s"
        time.sleep(pause)
    return time.monotonic() - began


@contextmanager
def prefect_worker(api: str, folder: Path, pool: str, *options: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A worker that is named as its folder, with a PREFECT_HOME of its own, as on a machine of its own."""
    folder.mkdir()
    variables = {
        "PREFECT_API_URL": api,
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    }
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process", "--name", folder.name]
    with (folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, *options],
            stdout=log,
            stderr=log,
            cwd=folder,
            env=environment(**variables),
            # A group of its own, so that its runs get the signal too.
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                # Told to end while it looks for cancelled runs, a worker of Prefect 3.8 may wait for them for ever.
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@contextmanager
def prefect_server(folder: Path) -> Iterator[tuple[str, Callable[[int], None]]]:
    """A Prefect server of the test's own: its API's URL, and what sends a signal to all of its processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    from flows.engine.template import begin_with_template

    # Where one is at hand: migrations are most of a first start.
    begin_with_template(folder / "prefect.db")
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"],
            stdout=log,
            stderr=log,
            env=environment(PREFECT_HOME=str(folder)),
            # A group of its own, so that its workers get the signal too.
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}/api"

    def healthy() -> bool:
        assert server.poll() is None, (folder / "server.log").read_text()
        try:
            return client.get(f"{url}/health", timeout=1).status_code == 200
        except httpx.HTTPError:
            return False

    def send(number: int) -> None:
        os.killpg(server.pid, number)

    try:
        with httpx.Client() as client:
            wait_until(healthy, pause=0.1)
        yield url, send
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGCONT)
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
