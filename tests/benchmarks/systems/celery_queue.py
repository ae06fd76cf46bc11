"""Celery on a Redis of its own that keeps an append-only file: one worker of ``threads`` or of ``prefork`` processes.

Wants ``redis-server`` on the path, or its place in ``REDIS_SERVER``.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from celery import Celery

from tests.benchmarks.unit import Case, Clock, FirstAttemptError, given, plain, text_of

URL, CASE = "BENCHMARK_REDIS", "BENCHMARK_CASE"

app = Celery("benchmark", broker=f"{os.environ.get(URL, '')}/0", backend=f"{os.environ.get(URL, '')}/1")
app.conf.update(task_acks_late=True, result_expires=None, task_track_started=True, task_default_queue="benchmark")


@app.task(name="extract", autoretry_for=(FirstAttemptError,), max_retries=3, default_retry_delay=0, retry_backoff=False)
def extract(number: int, text: str) -> dict[str, Any]:
    return plain(number, text, Case(**json.loads(os.environ[CASE])))


@app.task(name="answer")
def answer() -> None:
    return None


@contextmanager
def process(command: list[str], log: Any) -> Iterator[None]:
    child = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield
    finally:
        child.terminate()
        child.wait()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def main() -> None:
    case, (pool,) = given()
    port = free_port()
    server = [os.environ.get("REDIS_SERVER", "redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--dir", case.folder]
    options = ["-c", str(case.concurrency), "-Q", "benchmark", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    os.environ |= {URL: f"redis://127.0.0.1:{port}", CASE: case.as_json()}
    # The application that knows where Redis is; this module, run as a program, doesn't.
    from tests.benchmarks.systems import celery_queue

    worker = [sys.executable, "-m", "celery", "-A", "tests.benchmarks.systems.celery_queue:app", "worker", "-P", pool]
    with ExitStack() as stack:
        log = stack.enter_context(open(f"{case.folder}/celery.log", "wb"))
        stack.enter_context(process([*server, "--appendonly", "yes", "--save", ""], log))
        stack.enter_context(process([*worker, *options, "-l", "WARNING"], log))
        celery_queue.answer.delay().get(timeout=120)
        with Clock() as clock:
            handles = [celery_queue.extract.delay(number, text_of(number)) for number in range(case.documents)]
            results = [handle.get(timeout=600, interval=0.02) for handle in handles]
        clock.report(len(results), case)


if __name__ == "__main__":
    main()
