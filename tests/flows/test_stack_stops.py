"""Stopping the parts of the stack: one process that can't be asked keeps none of the others alive."""

import subprocess
import sys
from pathlib import Path

import processes
import psutil
import pytest

from flows.operations import stack

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('there', flush=True); time.sleep(600)"


def test_a_process_that_vanishes_in_between_leaves_no_other_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "STOP_SECONDS", 0.2)
    monkeypatch.setattr(stack, "KILL_SECONDS", 1.0)
    stubborn = subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE)
    gone = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    vanishing = psutil.Process(gone.pid)

    def fail(*_: object, **__: object) -> None:
        raise OSError(3, "vanished")

    for name in ("wait", "send_signal", "status"):
        monkeypatch.setattr(vanishing, name, fail)
    try:
        assert stubborn.stdout is not None
        stubborn.stdout.readline()
        stack._stop({vanishing, psutil.Process(stubborn.pid)})
        processes.wait_until(lambda: stubborn.poll() is not None, 5)
    finally:
        for each in (stubborn, gone):
            each.kill()
            each.wait()


def test_a_folder_flows_where_it_is_started_does_not_hide_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "prefect.py").write_text("raise SystemExit('a stranger')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with stack.Part("version", tmp_path, "--version") as part:
        processes.wait_until(lambda: part.exit_code() is not None)
    assert "a stranger" not in part.log.read_text(encoding="utf-8")
