"""Documents on a Ray cluster: one a task, in a process of its own, which Ray doesn't repeat."""

import hashlib
import signal
import socket
import sys
import threading
from typing import Any

from compat.contracts import PipelineConfig
from compat.settings import Settings
from tasks.run_on.answers import (
    ClusterUnavailableError,
    ExtractorProcessDiedError,
    answer_in_worker,
    cluster_address,
    for_workers,
    library,
)

# How long the cluster may take to accept a connection, in seconds.
CONNECT_SECONDS = 10.0
START = "start `ray start --head`, and set it to auto on that machine, or to HOST:6379"


class _Connection:
    """This process's one connection to Ray, held while any batch uses it; one that the caller's program made stays."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._is_ours = False

    def take(self, ray: Any, address: str) -> None:
        with self._lock:
            if not ray.is_initialized():
                _knock(address)
                of_caller = signal.getsignal(signal.SIGTERM)
                ray.init(address=address, log_to_driver=False, configure_logging=False, include_dashboard=False)
                if threading.current_thread() is threading.main_thread():
                    # Ray takes it for itself, by which batches and their callers' programs are told to end.
                    signal.signal(signal.SIGTERM, of_caller)
                self._is_ours = True
            self._users += 1

    def give_back(self, ray: Any) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._is_ours:
                ray.shutdown()
                self._is_ours = False


_CONNECTION = _Connection()


def _knock(address: str) -> None:
    """Raise OSError where nobody listens; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()


class RayCluster:
    """A cluster's processes. Raises ClusterUnavailableError."""

    def __init__(self, settings: Settings) -> None:
        ray = library(settings, "ray")
        address = cluster_address(settings, START)
        try:
            _CONNECTION.take(ray, address)
        except (OSError, ValueError, RuntimeError) as error:
            raise ClusterUnavailableError(address, str(error), START) from None
        self._ray = ray
        # 0 also for a lack of memory, where Ray would otherwise repeat for ever. Repeating is up to the failure policy alone.
        self._task = ray.remote(num_cpus=1, max_retries=0)(answer_in_worker)
        self._settings = for_workers(settings)
        self._ontologies: dict[str, Any] = {}
        self._lock = threading.Lock()

    def ask(self, text: str, ontology: str, config: PipelineConfig) -> bytes:
        """Return the answer for one document. Raises ExtractorProcessDiedError."""
        try:
            answer: bytes = self._ray.get(self._task.remote(self._settings, sys.path, text, self._stored(ontology), config))
            return answer
        except self._ray.exceptions.RayError as error:
            # Ray's own: `answer_in_worker` raises nothing.
            reason = str(error).strip().partition("\n")[0]
            raise ExtractorProcessDiedError(f"Ray's process gave no answer: {type(error).__name__}: {reason}") from None

    def _stored(self, ontology: str) -> Any:
        """Put an ontology into Ray's object store, once a batch."""
        key = hashlib.sha256(ontology.encode("utf-8", "surrogatepass")).hexdigest()
        with self._lock:
            if key not in self._ontologies:
                self._ontologies[key] = self._ray.put(ontology)
            return self._ontologies[key]

    def close(self) -> None:
        """Leave the cluster, which goes on."""
        self._ontologies.clear()
        _CONNECTION.give_back(self._ray)
