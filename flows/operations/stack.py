"""The local stack in the foreground: Prefect's server, work pool, deployments, automations and worker. All end with it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import psutil
from sqlalchemy.engine import make_url

from compat.errors import Infrastructure, InvalidInputError, Problem
from compat.settings import Settings
from compat.store import Store

HOST = "127.0.0.1"
# As prefect.yaml names it.
POOL = "knowledge-batch"
# The worker's name; another stack that was killed may have left its own worker's behind.
NAME = f"local-{os.getpid()}"
# A server on two busy cores takes half a minute to its first answer.
START_SECONDS = 180.0
# Documents in work get eight seconds to finish (flows.engine.stops), and the worker has to notice.
STOP_SECONDS = 20.0
KILL_SECONDS = 5.0
LOOK_SECONDS = 0.3


class StackError(Infrastructure):
    """A part of the local stack failed. ``log`` is the file that says why."""

    terminal = True
    what: str
    log: Path

    def __str__(self) -> str:
        return f"{self.what}; everything was stopped. The reason is at the end of {self.log}"


def up(port: int, say: Callable[[str], None]) -> None:
    """Run the stack until SIGINT or SIGTERM, then stop every process of it.

    Args:
        port: Where Prefect's server listens, on this machine alone.
        say: Takes a line for the person in front of it.

    Raises:
        InvalidInputError: The port is taken, or a setting is wrong; nothing was started.
        StackError: A part didn't start, or ended by itself.
    """
    _check_port(port)
    settings = Settings.load()
    # What can't be used is reported before anything starts.
    logs = settings.make_home("logs")
    Store.from_settings(settings)
    Store.of_shadows(settings)
    # This process calls Prefect too, so it has the same environment as its children.
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        del os.environ[name]
    os.environ.update(environment(settings, port))
    with suppress(Stopped), _signals_noted() as received:
        say("starting Prefect's server")
        with Part("server", logs, "server", "start", "--host", HOST, "--port", str(port)) as server:
            _wait_for(_is_healthy, received, server)
            say("deploying")
            _deploy(say)
            _automate()
            with Part("worker", logs, "worker", "start", "--pool", POOL, "--type", "process", "--name", NAME) as worker:
                _wait_for(_is_worker_online, received, server, worker)
                say(f"ready: http://{HOST}:{port}/deployments (logs in {logs}; Ctrl-C ends everything)")
                _wait_for(lambda: False, received, server, worker, seconds=float("inf"))


def environment(settings: Settings, port: int) -> dict[str, str]:
    """Return the environment of the stack's processes. Prefect's own state is under ``KNOWLEDGE_HOME``."""
    url = make_url(settings.url)
    if url.get_backend_name() == "sqlite" and url.database:
        # A worker runs every flow in a new folder, where a relative path would name another file.
        url = url.set(database=str(Path(url.database).absolute()))
    return {
        "KNOWLEDGE_HOME": str(settings.home),
        "KNOWLEDGE_DATABASE_URL": url.render_as_string(hide_password=False),
        "PREFECT_HOME": str(settings.home / "prefect"),
        "PREFECT_API_URL": f"http://{HOST}:{port}/api",
        # The page calls this address, whatever the value of `server start --port`.
        "PREFECT_SERVER_API_HOST": HOST,
        "PREFECT_SERVER_API_PORT": str(port),
        # By the page's own address, so that it works behind a proxy too.
        "PREFECT_SERVER_UI_API_URL": "/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        # By default the recorder takes task runs one by one, and falls minutes behind.
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "200",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
        # The shortest that Prefect allows; a dead run is noticed after three.
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        # A person who has pressed Run waits for it.
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "knowledge_batch",
        "PREFECT_CLI_PROMPT": "false",
    }


def _check_port(port: int) -> None:
    if not 1 <= port <= 65535:
        raise InvalidInputError([Problem("--port", port, "is not a port; use one from 1 to 65535")])
    with socket.socket() as probe:
        # As the server does: a port that was closed a moment ago is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise InvalidInputError([Problem("--port", port, f"can't be used ({error.strerror}); name another one")]) from None


class Part:
    """A Prefect process of the stack with all its children; leaving the block stops every one of them."""

    def __init__(self, name: str, logs: Path, *arguments: str) -> None:
        self.name = name
        self.log = logs / f"{name}.log"
        with self.log.open("ab") as log:
            self._process = psutil.Popen(
                # -P: a folder `flows` where it is started would hide ours.
                [sys.executable, "-P", "-m", "prefect", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C goes to this process, which stops the parts in order.
                start_new_session=True,
            )
        self._family: set[psutil.Process] = {self._process}

    def __enter__(self) -> "Part":
        return self

    def __exit__(self, *_: object) -> None:
        self.exit_code()
        # A worker that is stopped kills its runs, so they are stopped before it.
        _stop(self._family - {self._process})
        self.exit_code()
        _stop(self._family)

    def exit_code(self) -> int | None:
        """Return the exit code once the process has ended; until then, remember its children."""
        for process in list(self._family):
            # Remembered while the parent lives: an orphan can't be found.
            with suppress(psutil.Error, OSError):
                self._family.update(process.children(recursive=True))
        code: int | None = self._process.poll()
        return code


def _stop(processes: set[psutil.Process]) -> None:
    """End processes, asked first and then by force. One that vanishes meanwhile keeps none of the others alive."""
    alive = list(processes)
    for number, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, KILL_SECONDS)):
        for process in alive:
            # It has ended already.
            with suppress(psutil.Error, OSError):
                process.send_signal(number)
        until = time.monotonic() + seconds
        while (alive := [process for process in alive if _is_alive(process)]) and time.monotonic() < until:
            time.sleep(0.05)


def _is_alive(process: psutil.Process) -> bool:
    try:
        # Reaps it if it is a child of ours; psutil.wait_procs does too, but raises for all where one has vanished.
        if isinstance(process, psutil.Popen):
            process.poll()
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except OSError:
        # Not known: it is asked again, and ended by force.
        return True


def _wait_for(condition: Callable[[], bool], received: Sequence[int], *parts: Part, seconds: float = START_SECONDS) -> None:
    """Wait for a condition. Raises StackError if a part ends or it takes too long, and Stopped after a signal."""
    began = time.monotonic()
    while not condition():
        for part in parts:
            code = part.exit_code()
            if code is not None:
                raise StackError(f"the {part.name} ended by itself with code {code}", part.log)
        if time.monotonic() - began > seconds:
            raise StackError(f"the {parts[-1].name} wasn't ready after {seconds:g} s", parts[-1].log)
        _pause(received)


def _pause(received: Sequence[int]) -> None:
    if received:
        raise Stopped
    time.sleep(LOOK_SECONDS)


class Stopped(Exception):  # noqa: N818 -- how a stack is meant to end
    """A signal to stop the stack was received."""


@contextmanager
def _signals_noted() -> Iterator[Sequence[int]]:
    """Record SIGINT, SIGTERM and a closed terminal, for the waiting code to check.

    A handler that raised would do so in the middle of an end as well, leave processes behind and hide what failed. And a list
    rather than an Event, whose lock the waiting thread may hold when its own handler wants it.
    """
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    before = {each: signal.signal(each, note) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield received
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


# --- Calls to Prefect. Imported where it is used, since Prefect reads the environment at its import. ------------------------


def _is_healthy() -> bool:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return client.api_healthcheck() is None


def _deploy(say: Callable[[str], None]) -> None:
    from flows.operations import deployments

    deployments.apply(say)


def _automate() -> None:
    from flows.operations import automations

    automations.apply()


def _is_worker_online() -> bool:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        workers = client.request("POST", "/work_pools/{work_pool_name}/workers/filter", path_params={"work_pool_name": POOL})
        return any(worker["name"] == NAME and worker["status"] == "ONLINE" for worker in workers.json())
