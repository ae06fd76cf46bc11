"""Prefect's embedded server, with its output in a log file instead of the caller's terminal."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import prefect
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_API_URL, get_current_settings

from compat.private import EMBEDDED, instances_of, server_started_by
from compat.settings import Settings
from flows.engine.stops import STOPS


def start_server(server: SubprocessASGIServer) -> "subprocess.Popen[Any]":
    """Start a server's process, whose output goes to ``KNOWLEDGE_HOME/logs/prefect-server.log``.

    It ends with hundreds of lines of cancelled background work, which belong on nobody's terminal.
    """
    folder = Settings.load().home / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    application = ["--app-dir", str(Path(prefect.__file__).parents[1]), "--factory", "prefect.server.api.server:create_app"]
    listen = ["--host", "127.0.0.1", "--port", str(server.port), "--log-level", "error", "--lifespan", "on"]
    # Phones home at its start, and locks its new database over it.
    ours = {**EMBEDDED, "PREFECT_UI_ENABLED": "0", "PREFECT_SERVER_ANALYTICS_ENABLED": "0"}
    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    with (folder / "prefect-server.log").open("ab") as log:
        return subprocess.Popen(  # noqa: S603 -- our own interpreter, no input of anybody's
            [sys.executable, "-m", "uvicorn", *application, *listen],
            env={**os.environ, **ours, **settings},
            stdout=log,
            stderr=log,
        )


EmbeddedServer = server_started_by(SubprocessASGIServer, start_server)


def use_embedded_server() -> None:
    """Where no API URL is set, makes Prefect's embedded server ours: Prefect keeps one an interpreter, the first that is made."""
    if not PREFECT_API_URL.value():
        EmbeddedServer()
        STOPS.before_exit(stop_embedded_server)


def stop_embedded_server() -> None:
    """Stops the embedded server where one runs; for a process that ends without its exit handlers."""
    for server in instances_of(SubprocessASGIServer):
        server.stop()
