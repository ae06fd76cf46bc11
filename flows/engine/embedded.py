"""Prefect's embedded server: one a process, started where no API URL is set, before Prefect's import where that is sure.

Importing Prefect takes a second of CPU and the server's start three; so the server's process comes first, and this module
imports no Prefect. The server stands in a session of its own, so Ctrl-C in a terminal reaches the batch alone, and it ends
with this process, also by kill -9. Its output goes to ``KNOWLEDGE_HOME/logs/prefect-server.log``.
"""

import atexit
import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from compat.errors import PrefectUnavailableError
from compat.private import EMBEDDED
from compat.settings import Settings
from flows.engine.stops import STOPS
from flows.engine.template import begin_with_template, keep_as_template

HOST = "127.0.0.1"
API_URL = "PREFECT_API_URL"
# Prefect's own 20 s are too few on a busy machine; a server that dies is noticed at once.
PATIENCE_SECONDS = 60.0
# What one run doesn't need. With analytics on, it phones home at its start, and locks its new database over it.
SWITCHED_OFF = {"PREFECT_UI_ENABLED": "0", "PREFECT_SERVER_ANALYTICS_ENABLED": "0"}
# The template has them.
IN_TEMPLATE = {"PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "0", "PREFECT_API_BLOCKS_REGISTER_ON_START": "0"}


class EmbeddedServer:
    """The server's process, and the pipe that it watches."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: int | None = None
        self._database: Path | None = None
        self._ready = False
        self.port = 0

    @property
    def url(self) -> str:
        """The URL of its API."""
        return f"http://{HOST}:{self.port}/api"

    @property
    def is_running(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process unless it runs, and don't wait for it."""
        with self._lock:
            if self.is_running:
                return
            self.stop()
            logs = Settings.load().make_home("logs")
            home = logs.parent
            environment = {**os.environ, **EMBEDDED, **SWITCHED_OFF, **self._database_settings(home)}
            environment.pop(API_URL, None)
            watched, self._pipe = os.pipe()
            # It listens before the server does, so a first request waits instead of being refused.
            with socket.create_server((HOST, 0)) as listening, (logs / "prefect-server.log").open("ab") as log:
                self.port = listening.getsockname()[1]
                program = [str(Path(__file__).with_name("server_process.py")), str(listening.fileno()), str(watched)]
                try:
                    self._process = subprocess.Popen(  # noqa: S603 -- our own interpreter, no input of anybody's
                        [sys.executable, "-P", *program, str(_packages())],
                        env=environment,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        pass_fds=(listening.fileno(), watched),
                        start_new_session=True,
                    )
                finally:
                    os.close(watched)
            self._ready = False
            atexit.register(self.stop)
            STOPS.before_exit(self.stop)

    def wait(self, seconds: float) -> None:
        """Wait until the API answers. Raises PrefectUnavailableError where it doesn't within so many seconds."""
        with self._lock:
            if self._ready:
                return
            until = time.monotonic() + seconds
            connection = http.client.HTTPConnection(HOST, self.port, timeout=seconds)
            try:
                connection.request("GET", "/api/health")
                status = connection.getresponse().status
            except OSError as error:
                waited = seconds if time.monotonic() >= until else seconds - (until - time.monotonic())
                raise PrefectUnavailableError(self.url, f"{error} after {waited:.0f} s; see logs/prefect-server.log") from error
            finally:
                connection.close()
            if status != http.client.OK:
                raise PrefectUnavailableError(self.url, f"status {status}; see logs/prefect-server.log")
            self._ready = True
            if self._database is not None:
                keep_as_template(self._database)

    def stop(self) -> None:
        """End the process at once, if there is one: what it was told and hasn't answered yet is dropped."""
        with self._lock:
            if self._pipe is not None:
                os.close(self._pipe)
                self._pipe = None
            if self._process is not None:
                self._process.kill()
                self._process.wait()
                self._process = None

    def _database_settings(self, home: Path) -> dict[str, str]:
        """Return what tells the server where its database is, and that it needs no migration; nothing where the user says it."""
        if any(name.startswith("PREFECT_") and "DATABASE" in name for name in os.environ):
            return {}
        state = Path(os.environ.get("PREFECT_HOME") or home / "prefect").expanduser().absolute()
        self._database = state / "prefect.db"
        url = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{self._database}"}
        return {"PREFECT_HOME": str(state), **url, **(IN_TEMPLATE if begin_with_template(self._database) else {})}


SERVER = EmbeddedServer()
# A forked child must neither stop the parent's server nor keep it alive.
os.register_at_fork(after_in_child=lambda: SERVER.__init__())  # type: ignore[misc]


def start_ahead() -> None:
    """Start the server before Prefect is imported, where nothing may name another one."""
    if "prefect" not in sys.modules and not _may_name_a_server():
        # Read at Prefect's import. No profile names a server, so none is lost; results and blocks lie with the server's database.
        os.environ.setdefault("PREFECT_HOME", str(Settings.load().home / "prefect"))
        # Prefect prints a notice about its telemetry otherwise.
        os.environ.setdefault("DO_NOT_TRACK", "1")
        SERVER.start()


def settings() -> dict[Any, Any]:
    """Return Prefect's settings for the server that a batch of this process uses; started here where no API URL is set."""
    from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS, PREFECT_UI_URL

    if PREFECT_API_URL.value():
        return {}
    SERVER.start()
    SERVER.wait(max(PATIENCE_SECONDS, PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value()))
    # It has no page, so no log line should lead there.
    return {PREFECT_API_URL: SERVER.url, PREFECT_UI_URL: ""}


def _packages() -> Path:
    """Return the folder that Prefect is in, without importing it."""
    found = find_spec("prefect")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("No module named 'prefect'", name="prefect")
    return Path(found.origin).parents[1]


def _may_name_a_server() -> bool:
    """Return whether the environment or a file that Prefect reads may hold an API URL; only Prefect itself can tell."""
    if os.environ.get(API_URL):
        return True
    home = Path(os.environ.get("PREFECT_HOME") or "~/.prefect").expanduser()
    profiles = Path(os.environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml").expanduser()
    named = [(profiles, API_URL), (Path(".env"), API_URL), (Path("prefect.toml"), ""), (Path("pyproject.toml"), "[tool.prefect")]
    return any(path.is_file() and text in path.read_text("utf-8", "replace") for path, text in named)
