"""Documents on a Dask cluster: one on one thread of one worker, which alone may run it."""

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from compat.contracts import PipelineConfig
from compat.errors import InvalidInputError, Problem
from compat.settings import Settings
from tasks.run_on.answers import (
    ClusterUnavailableError,
    ExtractorProcessDiedError,
    answer_in_worker,
    cluster_address,
    for_workers,
    library,
)

# How long the scheduler may take to answer at first, in seconds.
CONNECT_SECONDS = 10
# How often one that waits looks whether a worker has come or gone, in seconds.
LOOK_SECONDS = 1.0
# How long a document waits for a cluster without any worker.
NO_WORKER_SECONDS = 60.0
START = "start `dask scheduler` and `dask worker ADDRESS`, and set it to tcp://HOST:8786"
ONCE = "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=0"


class DaskCluster:
    """A scheduler's workers. Raises ClusterUnavailableError, and InvalidInputError for a scheduler that repeats documents.

    Dask would run a document again if its worker died or left. So each is bound to one worker, and the scheduler must be set to
    repeat nothing: repeating is up to the failure policy alone.
    """

    def __init__(self, settings: Settings) -> None:
        distributed = library(settings, "distributed")
        address = cluster_address(settings, START)
        try:
            self._client = distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ClusterUnavailableError(address, str(error), START) from None
        allowed = self._client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.allowed_failures)
        if allowed != 0:
            self._client.close()
            advice = f"its scheduler runs the document of a dead worker {allowed} times more; start it with {ONCE}"
            raise InvalidInputError([Problem("KNOWLEDGE_CLUSTER", address, advice)])
        self._settings = for_workers(settings)
        self._busy: Counter[str] = Counter()
        self._given_back = threading.Condition()

    def ask(self, text: str, ontology: str, config: PipelineConfig) -> bytes:
        """Return the answer for one document. Raises ExtractorProcessDiedError."""
        with self._place() as worker:
            try:
                future = self._client.submit(
                    answer_in_worker,
                    self._settings,
                    sys.path,
                    text,
                    ontology,
                    config,
                    workers=[worker],
                    allow_other_workers=False,
                    retries=0,
                    pure=False,
                )
                return self._answer(future, worker)
            except ExtractorProcessDiedError:
                raise
            except Exception as error:
                # Dask's own: the worker was killed, or the scheduler has gone. `answer_in_worker` raises nothing.
                raise ExtractorProcessDiedError(
                    f"Dask's worker {worker} gave no answer: {type(error).__name__}: {error}"
                ) from None

    def _answer(self, future: Any, worker: str) -> bytes:
        while True:
            try:
                answer: bytes = future.result(timeout=LOOK_SECONDS)
                return answer
            except TimeoutError:
                # One that was told to end leaves its document waiting for it.
                if worker not in self._client.nthreads():
                    future.cancel()
                    raise ExtractorProcessDiedError(f"Dask's worker {worker} has left the cluster with it") from None

    @contextmanager
    def _place(self) -> Iterator[str]:
        """Take a free thread of the worker that has the most of them, and wait for one if there is none."""
        worker = None
        waited = 0.0
        with self._given_back:
            while worker is None:
                free = {each: threads - self._busy[each] for each, threads in self._client.nthreads().items()}
                worker = max((each for each in free if free[each] > 0), key=lambda each: free[each], default=None)
                if worker is None:
                    if not free and waited >= NO_WORKER_SECONDS:
                        raise ExtractorProcessDiedError(f"the Dask cluster has had no worker for {waited:g} s; {START}")
                    self._given_back.wait(LOOK_SECONDS)
                    waited += LOOK_SECONDS
            self._busy[worker] += 1
        try:
            yield worker
        finally:
            with self._given_back:
                self._busy[worker] -= 1
                self._given_back.notify()

    def close(self) -> None:
        """Leave the cluster, which goes on."""
        self._client.close()
