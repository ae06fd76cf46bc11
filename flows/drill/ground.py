"""Where a drill takes place: a local stack with a store of its own, callers at work, and an old reader who watches them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

from sqlalchemy import select

from compat.cutover import old_reader
from compat.errors import Infrastructure, InvalidInputError, Problem
from compat.settings import Settings
from compat.store import Store
from compat.store.database import SHADOW, Database
from compat.store.schema import BatchRun
from flows.drill import callers
from flows.operations import stack

# How long a part of a drill may take, in seconds.
PATIENCE = 180.0
LOOK_SECONDS = 0.02
CALLERS = 2
# How often the old reader looks at the batches that have not ended, in seconds.
READ_SECONDS = 0.05


class DrillError(Infrastructure):
    """A drill could not be held to its end, so it says nothing of the cutover."""

    what: str
    folder: Path

    def __str__(self) -> str:
        return f"The drill was broken off: {self.what}. Its store and logs are in {self.folder}"


def wait_until(condition: Callable[[], bool], what: str, folder: Path, pause: float = LOOK_SECONDS) -> float:
    """Wait for a condition and return the moment it was seen. Raises DrillError after PATIENCE."""
    until = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > until:
            raise DrillError(f"{what} did not happen within {PATIENCE:g} s", folder)
        time.sleep(pause)
    return time.monotonic()


@contextmanager
def ground(folder: Path, url: str | None, say: Callable[[str], None]) -> Iterator[None]:
    """Start the stack in ``folder`` and make it this process's: its store, its Prefect, the drill's extractor.

    Args:
        folder: Where it all lies.
        url: A database for the drill; by default a SQLite file in the folder. One that holds others' batches is refused, since
            the drill sets its mode.
        say: Takes a line for the person in front of it.
    """
    door = folder / "door"
    door.mkdir(parents=True, exist_ok=True)
    settings = Settings.load().model_copy(update={"home": folder, "database_url": url or f"sqlite:///{folder / 'knowledge.db'}"})
    for namespace in (None, SHADOW):
        _refuse_others(Database(settings.url, namespace, upgrade=True))
    port = _free_port()
    for name in [name for name in os.environ if name.startswith(("PREFECT_", "KNOWLEDGE_"))]:
        del os.environ[name]
    os.environ.update(stack.environment(settings, port))
    os.environ.update(
        {
            "KNOWLEDGE_EXTRACTOR": callers.EXTRACTOR,
            "KNOWLEDGE_RETRY_BASE_SECONDS": "0.01",
            "KNOWLEDGE_PREFECT_TIMEOUT_SECONDS": "60",
            # What the engine has in work is handed over at a heartbeat, a quarter of this.
            "KNOWLEDGE_LEASE_SECONDS": "12",
            "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
            # What is logged behind a flow run, such as the demotion, is on the terminal.
            "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
            callers.DOOR: str(door),
        }
    )
    say("starting a local stack for the drill")
    # As Ctrl-C does: the stack and the callers are ended on the way out.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with _stack(folder, port):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _stack(folder: Path, port: int) -> Iterator[None]:
    with (folder / "stack.log").open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(  # noqa: S603 -- our own command
            [sys.executable, "-P", "-m", "flows.command.cli", "up", "--port", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:

            def is_ready() -> bool:
                if process.poll() is not None:
                    raise DrillError("the stack ended by itself", folder)
                return "\nready: " in "\n" + (folder / "stack.log").read_text(encoding="utf-8")

            wait_until(is_ready, "the start of the stack", folder)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _refuse_others(database: Database) -> None:
    query = select(BatchRun.batch_id).where(BatchRun.organization_id != callers.ORGANIZATION).limit(1)
    with database.read() as connection:
        other = connection.execute(query).scalar()
    database.engine.dispose()
    if other is not None:
        advice = f"holds the batch {other}; a drill sets its database's mode, so name an empty one"
        raise InvalidInputError([Problem("--database", database.engine.url.render_as_string(), advice)])


def _free_port() -> int:
    with socket.socket() as free:
        free.bind((stack.HOST, 0))
        return int(free.getsockname()[1])


class Callers:
    """The processes that run batches, as a context manager. ``started`` and ``ended`` are filled as they tell of them."""

    def __init__(self, name: str) -> None:
        self.started: dict[str, float] = {}
        self.ended: dict[str, dict[str, Any]] = {}
        self._name = name
        self._processes: list[subprocess.Popen[str]] = []
        self._threads: list[Thread] = []

    def __enter__(self) -> "Callers":
        for number in range(CALLERS):
            process = subprocess.Popen(  # noqa: S603 -- our own module
                [sys.executable, "-P", "-m", "flows.drill.callers", f"{self._name}-caller{number}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )
            self._processes.append(process)
            thread = Thread(target=self._listen, args=(process,), daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.close()
        for process, thread in zip(self._processes, self._threads, strict=True):
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
            thread.join()

    def note(self, batch_id: str, result: dict[str, Any] | None = None) -> None:
        """Note a batch that somebody else started, or what came of it."""
        if result is None:
            self.started[batch_id] = time.monotonic()
        else:
            self.ended[batch_id] = result

    def since(self, moment: float) -> list[str]:
        """Return the callers' batches that were started after a moment and have ended."""
        return [name for name, began in self.started.items() if began > moment and name in self.ended]

    def _listen(self, process: "subprocess.Popen[str]") -> None:
        for line in process.stdout or ():
            told = json.loads(line)
            self.note(told["batch"]) if "batch" in told else self.note(told["ended"], told)


class OldReader:
    """Reads every batch of a drill as the old system would, over and over, and notes what it would take for wrong."""

    def __init__(self, store: Store, callers: Callers) -> None:
        self.looks = 0
        self.wrong: list[str] = []
        self._store = store
        self._callers = callers
        self._seen: dict[str, str | None] = {}
        self._left = Event()
        self._thread = Thread(target=self._work, daemon=True)

    def __enter__(self) -> "OldReader":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join()
        self.look()

    def _work(self) -> None:
        while not self._left.wait(READ_SECONDS):
            self.look(only_running=True)

    def look(self, *, only_running: bool = False) -> None:
        """Look at all batches once, or at those that had not ended."""
        with self._store.database.read() as connection:
            for batch_id in list(self._callers.started):
                before = self._seen.get(batch_id)
                if only_running and before in old_reader.TERMINAL:
                    continue
                view = old_reader.look(connection, batch_id)
                self.looks += 1
                if view.row is None and before is None and batch_id not in self._callers.ended:
                    # Its caller has not come to the store yet.
                    continue
                found = old_reader.wrong(view)
                if found and self._is_between(connection, batch_id):
                    continue
                self.wrong += [f"{batch_id}: {each}" for each in found]
                if old_reader.went_back(before, view.status):
                    self.wrong.append(f"{batch_id} went from {before} to {view.status}")
                self._seen[batch_id] = view.status

    @staticmethod
    def _is_between(connection: Any, batch_id: str) -> bool:
        """Return whether a second look is right: two queries of one reader may have a write between them."""
        return not old_reader.wrong(old_reader.look(connection, batch_id))
