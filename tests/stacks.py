"""The local stack as a person starts it: ``knowledge-batch up`` as a process, in a home of its own."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import processes
import psutil
from sqlalchemy import insert

import faults
from compat.store import Store
from compat.store.schema import TapeRow

READY_SECONDS = 240.0


class Stack:
    """A stack that is ready. ``family`` is every process of it that has been seen."""

    def __init__(self, process: "subprocess.Popen[str]", port: int, home: Path) -> None:
        self.process = process
        self.port = port
        self.home = home
        self.page = f"http://127.0.0.1:{port}"
        self.said: list[str] = []
        self.family: set[psutil.Process] = set()

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """The JSON that Prefect's API answers; a body makes it a POST."""
        return self.answer(path, body).raise_for_status().json()

    def answer(self, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        answers: list[httpx.Response] = []

        def is_taken() -> bool:
            method = "GET" if body is None else "POST"
            answers.append(httpx.request(method, f"{self.page}/api{path}", json=body, timeout=60))
            # On SQLite the server says so where another writer is faster; its own clients ask again too.
            return answers[-1].status_code != httpx.codes.SERVICE_UNAVAILABLE

        processes.wait_until(is_taken)
        return answers[-1]

    def start(self, deployment: str, **parameters: Any) -> str:
        """Starts a deployment's run as its form does, and returns the flow run's id."""
        return str(self.ask(f"/deployments/{self.deployment(deployment)}/create_flow_run", {"parameters": parameters})["id"])

    def deployment(self, name: str) -> str:
        return str(self.ask(f"/deployments/name/{name}")["id"])

    def state(self, flow_run_id: str) -> str:
        return str(self.ask(f"/flow_runs/{flow_run_id}")["state"]["name"])

    def wait_for(self, flow_run_id: str, state: str = "Completed", seconds: float = 120) -> dict[str, Any]:
        """The flow run, once it is in this state."""
        final = {"Completed", "Failed", "Crashed", "Cancelled"}
        processes.wait_until(lambda: self.state(flow_run_id) in final | {state}, seconds)
        run: dict[str, Any] = self.ask(f"/flow_runs/{flow_run_id}")
        assert run["state"]["name"] == state, run["state"]
        return run

    def artifacts(self, flow_run_id: str) -> dict[str, Any]:
        """What is shown at a flow run: the artifacts' data by key."""
        body = {"artifacts": {"flow_run_id": {"any_": [flow_run_id]}}}
        return {artifact["key"]: artifact["data"] for artifact in self.ask("/artifacts/filter", body)}

    def events(self, prefix: str) -> list[dict[str, Any]]:
        """Prefect's events of this prefix, the oldest first."""
        body = {"filter": {"event": {"prefix": [prefix]}}, "limit": 50}
        return sorted(self.ask("/events/filter", body)["events"], key=lambda event: str(event["occurred"]))

    def end(self, number: int, seconds: float = 60) -> int:
        """Sends a signal to the command alone, as a supervisor does, and waits for its end."""
        self.family |= set(psutil.Process(self.process.pid).children(recursive=True))
        self.process.send_signal(number)
        return self.process.wait(timeout=seconds)

    def survivors(self) -> list[psutil.Process]:
        return [process for process in self.family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "flows.command.cli", *arguments]


@contextmanager
def up(folder: Path, **variables: str) -> Iterator[Stack]:
    """A stack whose store, door and Prefect lie in ``folder``, started from a folder that has nothing to do with it."""
    port, home = free_port(), folder / "home"
    folder.mkdir(parents=True, exist_ok=True)
    ours = {
        "KNOWLEDGE_HOME": str(home),
        "KNOWLEDGE_DATABASE_URL": f"sqlite:///{home / 'knowledge.db'}",
        "KNOWLEDGE_EXTRACTOR": faults.NAME,
        "KNOWLEDGE_RETRY_BASE_SECONDS": "0.001",
        "KNOWLEDGE_SOURCES_ALLOW": str(folder),
        faults.DOOR: str(folder / "door"),
    }
    process = subprocess.Popen(
        command("up", "--port", str(port)),
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=processes.environment(**{**ours, **variables}),
        # So that nothing the stack leaves behind can outlive the test.
        start_new_session=True,
    )
    stack = Stack(process, port, home)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            stack.said.append(line.rstrip())
            if line.startswith(("ready", "error")):
                break
        assert stack.said[-1].startswith("ready"), stack.said
        yield stack
    finally:
        if process.poll() is None:
            stack.end(signal.SIGTERM)
        for survivor in stack.survivors():
            survivor.kill()


def source(folder: Path, documents: list[dict[str, str]]) -> str:
    """A folder of scripted documents, as a source."""
    folder.mkdir(parents=True)
    (folder / "ontology.ttl").write_text("# none", encoding="utf-8")
    lines = [json.dumps({key: document[key] for key in ("documentId", "text")}) for document in documents]
    (folder / "documents.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return str(folder)


def knocks(folder: Path) -> int:
    """How many documents have come to the door of the stack in this folder."""
    door = folder / "door"
    return len(door.read_text(encoding="utf-8").splitlines()) if door.exists() else 0


def tape_something_else(store: Store, batch_id: str, document_id: str) -> None:
    """A tape on which one of the documents could not be read at all."""
    row = {"batch_id": batch_id, "document_id": document_id, "generation": 0, "attempt": 1}
    error = {"error_class": "builtins.ValueError", "error_message": "not on this tape", "error_terminal": True, "error_args": []}
    with store.database.write() as connection:
        connection.execute(insert(TapeRow), row | error)
