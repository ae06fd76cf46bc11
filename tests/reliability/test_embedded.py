"""The embedded server: begun from a template, alone in its session, gone with the process that started it."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import processes
import psutil
import pytest

import faults
from compat.store import Store
from flows.engine.template import begin_with_template, keep_as_template, template_path

# Starts the server without Prefect, says who it is, and waits to be killed or told to end.
HOLD = """
import signal, sys, time
from flows.engine import embedded
# Where the suite runs in a shell's background, Ctrl-C is ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
embedded.start_ahead()
assert "prefect" not in sys.modules
embedded.SERVER.wait(120)
try:
    print(embedded.SERVER._process.pid, flush=True)
    # Not signal.pause(): a signal that comes just before it would be waited for once more.
    while True:
        time.sleep(0.1)
except KeyboardInterrupt:
    print(embedded.SERVER.is_running, flush=True)
"""


def hold(home: Path) -> "tuple[subprocess.Popen[str], psutil.Process]":
    variables = {name: text for name, text in processes.environment().items() if not name.startswith("PREFECT_")}
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD],
        stdout=subprocess.PIPE,
        text=True,
        env={**variables, "KNOWLEDGE_HOME": str(home), "PREFECT_PROFILES_PATH": str(home / "profiles.toml")},
        start_new_session=True,
    )
    assert child.stdout is not None
    return child, psutil.Process(int(child.stdout.readline()))


@pytest.mark.usefixtures("environment")
def test_kill_9_leaves_no_embedded_server_and_ctrl_c_does_not_reach_it(tmp_path: Path) -> None:
    child, server = hold(tmp_path / "home")
    # As a terminal does: to all processes of the foreground's group.
    os.killpg(child.pid, signal.SIGINT)
    assert child.communicate(timeout=processes.PATIENCE)[0] == "True\n"
    processes.wait_until(lambda: not server.is_running())
    # The state lies in our home; a second home begins where the first one's migrations ended.
    assert (tmp_path / "home" / "prefect" / "prefect.db").exists()
    child, server = hold(tmp_path / "second")
    child.kill()
    child.communicate()
    assert processes.wait_until(lambda: not server.is_running()) < 30


def database(path: Path, revision: str, runs: int = 0) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
        connection.execute("CREATE TABLE flow_run (id INTEGER PRIMARY KEY)")
        connection.executemany("INSERT INTO flow_run VALUES (?)", [(number,) for number in range(runs)])
        connection.commit()
    return path


def test_only_an_empty_database_becomes_the_template_and_only_its_own_revision_spares_the_migration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert not begin_with_template(tmp_path / "none yet" / "prefect.db")
    keep_as_template(database(tmp_path / "used.db", "b", runs=1))
    assert not template_path().exists()
    keep_as_template(database(tmp_path / "new.db", "b"))
    assert template_path().exists()
    assert begin_with_template(tmp_path / "fresh" / "prefect.db")
    assert not begin_with_template(database(tmp_path / "older.db", "a"))
    assert not list(template_path().parent.glob("*.db.*"))


@pytest.mark.usefixtures("environment")
def test_a_batch_in_the_engine_without_a_server_begins_before_prefect_is_imported(request_of: Any, tmp_path: Path) -> None:
    program = "import sys; from flows.engine import embedded; ahead = embedded.EmbeddedServer.start\n"
    program += "def start(server): print('prefect' in sys.modules); ahead(server)\nembedded.EmbeddedServer.start = start\n"
    child = processes.start(
        program + processes.RUN,
        "engine",
        request=json.dumps(request_of([faults.document("one")], batch_id="embedded")),
        PREFECT_HOME=str(tmp_path / "prefect"),
        PREFECT_API_URL="",
    )
    printed, errors = child.communicate(timeout=processes.PATIENCE)
    assert child.returncode == 0, errors
    assert printed.splitlines()[0] == "False"
    assert Store.from_settings().batch("embedded").mode == "engine"
    # The flow run's log, without a page that nobody serves and without the server's own noise.
    assert [text for text in ("View at", "Traceback", "ERROR") if text in errors] == []
