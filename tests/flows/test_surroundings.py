"""The command in awkward surroundings: a proxy, a home that can't be written, a terminal's Ctrl-C, a foreign `flows` folder."""

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
import time
from contextlib import suppress
from pathlib import Path

import processes
import psutil
import pytest
import stacks

import faults
import flows

OURS = {"KNOWLEDGE_EXTRACTOR": faults.NAME, "KNOWLEDGE_RETRY_BASE_SECONDS": "0.001"}


def variables(folder: Path, **more: str) -> dict[str, str]:
    """The environment of a person who has no Prefect and no proxy."""
    mine = {
        faults.DOOR: str(folder / "door"),
        "HOME": str(folder / "user"),
        "KNOWLEDGE_HOME": str(folder / "home"),
        "KNOWLEDGE_DATABASE_URL": "",
        **OURS,
        **more,
    }
    given = processes.environment(**mine)
    given.pop("KNOWLEDGE_DATABASE_URL")
    return {name: value for name, value in given.items() if not name.startswith("PREFECT_") or name in more}


@pytest.mark.parametrize("command", [["run", "sample"], ["up"]])
def test_a_home_that_cannot_be_made_is_named_and_exits_with_4(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    home = tmp_path / "file" / "home"
    given = variables(tmp_path, KNOWLEDGE_HOME=str(home))
    given["KNOWLEDGE_DATABASE_URL"] = f"sqlite:///{tmp_path / 'k.db'}"
    done = subprocess.run(stacks.command(*command), env=given, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 4
    assert f"{home}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_sqlite_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    given = variables(tmp_path)
    given["KNOWLEDGE_DATABASE_URL"] = f"sqlite:///{tmp_path}"
    done = subprocess.run(stacks.command("list"), env=given, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, f"({tmp_path})" in done.stderr, "Traceback" in done.stderr) == (4, True, False)


@pytest.mark.slow
def test_behind_a_proxy_the_embedded_server_is_asked_directly_and_all_of_prefect_lies_in_our_home(tmp_path: Path) -> None:
    (tmp_path / "user").mkdir()
    source = stacks.source(tmp_path / "source", [faults.document("a")])
    nobody = f"http://127.0.0.1:{stacks.free_port()}"
    given = variables(tmp_path, HTTP_PROXY=nobody, HTTPS_PROXY=nobody, ALL_PROXY=nobody)
    run = stacks.command("run", source, "--mode", "engine", "--format", "json")
    done = subprocess.run(run, env=given, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "rolled back" not in done.stderr
    assert "anonymous" not in done.stderr
    assert (tmp_path / "home" / "prefect" / "prefect.db").exists()
    assert not (tmp_path / "user" / ".prefect").exists()


@pytest.mark.parametrize("name", ["flows/__init__.py", "flows/x.py", "tasks.py"])
def test_a_folder_that_hides_a_package_of_ours_is_named(name: str, tmp_path: Path) -> None:
    theirs = tmp_path / "their project" / name
    theirs.parent.mkdir(parents=True)
    theirs.write_text("", encoding="utf-8")
    run = [sys.executable, "-m", "deployments.command", "--version"]
    done = subprocess.run(run, env=variables(tmp_path), cwd=tmp_path / "their project", capture_output=True, text=True)
    # A folder without __init__.py hides nothing.
    hides = name != "flows/x.py"
    assert done.returncode == (4 if hides else 0), done.stderr
    hidden = theirs if name == "tasks.py" else theirs.parent
    said = f"error: {hidden} hides the package {Path(name).parts[0].removesuffix('.py')} of knowledge-batch; start the command"
    assert done.stderr.startswith(said) == hides
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_process_that_ends_by_force_says_how_to_go_on_too(
    number: signal.Signals, tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    source = stacks.source(tmp_path / "source", [faults.document("endless", held=True)])
    run = stacks.command("run", source, "--mode", "legacy", "--batch-id", "stuck")
    given = variables(tmp_path, **{faults.DOOR: os.environ[faults.DOOR]})
    child = subprocess.Popen(run, env=given, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    processes.wait_until(lambda: faults.knocks()["endless"] == 1)
    child.send_signal(number)
    assert "interrupted; go on with: knowledge-batch resume stuck\n" in child.communicate(timeout=processes.PATIENCE)[1]
    assert child.returncode == 128 + number


def read_all(terminal: int, seen: bytearray) -> None:
    """Reads what a terminal shows until its last process has ended."""
    with suppress(OSError):
        while shown := os.read(terminal, 65536):
            seen += shown


@pytest.mark.slow
def test_ctrl_c_gives_the_prompt_back_within_3_s_of_the_last_document_and_says_how_to_go_on(
    tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    (tmp_path / "user").mkdir()
    source = stacks.source(tmp_path / "source", [faults.document(f"d{number}", held=True) for number in range(6)])
    given = variables(tmp_path, **{faults.DOOR: os.environ[faults.DOOR]})
    run = stacks.command("run", source, "--mode", "engine", "--batch-id", "stopped")
    keyboard, terminal = pty.openpty()
    child = subprocess.Popen(
        run, env=given, cwd=tmp_path, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
        # The terminal becomes the session's, so that Ctrl-C reaches all of its processes in the foreground.
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(terminal)
    seen = bytearray()
    reader = threading.Thread(target=read_all, args=(keyboard, seen))
    reader.start()
    processes.wait_until(lambda: sum(faults.knocks().values()) >= 3)
    command = psutil.Process(child.pid)
    family = [command, *command.children(recursive=True)]
    assert len(family) > 1
    before = now = command.cpu_times()
    os.write(keyboard, b"\x03")
    # What a person sees is the bar until the stop has been heard of.
    faults.open_door()
    while child.poll() is None:
        time.sleep(0.02)
        with suppress(psutil.Error):
            now = command.cpu_times()
    # CPU time: other work on the machine doesn't count.
    assert now.user + now.system - before.user - before.system < 3
    assert child.returncode == 130
    reader.join()
    os.close(keyboard)
    said = seen.decode()
    assert "interrupted; go on with: knowledge-batch resume stopped" in said
    assert not [word for word in ("Traceback", "rolled back", "prefect", "ERROR", "INFO") if word in said]
    # No process of the session is left, the embedded server's included.
    processes.wait_until(lambda: not [each for each in family if each.is_running()])
    environment.setenv("KNOWLEDGE_DATABASE_URL", f"sqlite:///{tmp_path / 'home' / 'knowledge.db'}")
    assert flows.resume_batch("stopped", "legacy").success_count == 6
