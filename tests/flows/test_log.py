"""The command's log file is shared by processes and begun anew before it grows without end."""

import logging
import os
from pathlib import Path

import processes
import pytest

from flows.command.log import MAX_BYTES, OLDER_FILES, LogFile

WRITE = """
import logging, sys
from flows.command.log import LogFile
log = logging.getLogger("knowledge_batch")
log.propagate = False
log.setLevel(logging.INFO)
log.handlers = [LogFile(max_bytes=int(sys.argv[2]))]
for number in range(int(sys.argv[3])):
    log.info("%s says %04d", sys.argv[1], number)
"""


def lines_of(home: Path) -> dict[str, list[str]]:
    return {path.name: path.read_text(encoding="utf-8").splitlines() for path in (home / "logs").iterdir()}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KNOWLEDGE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_no_line_is_lost_where_processes_write_and_put_files_aside_at_once(home: Path) -> None:
    names = ["first", "second", "third"]
    most = 15_000
    children = [processes.start(WRITE, name, str(most), "200") for name in names]
    assert [child.wait(timeout=120) for child in children] == [0] * len(names)
    assert [child.stderr.read() for child in children if child.stderr] == [""] * len(names)
    files = lines_of(home)
    assert len(files) == 3
    assert all((home / "logs" / name).stat().st_size <= most for name in files)
    said = sorted(line.partition(" INFO ")[2] for lines in files.values() for line in lines)
    assert said == sorted(f"{name} says {number:04}" for name in names for number in range(200))


def test_older_files_than_are_kept_go(home: Path) -> None:
    child = processes.start(WRITE, "one", "1000", "200")
    assert child.wait(timeout=120) == 0
    files = lines_of(home)
    assert sorted(files) == ["knowledge-batch.log", *(f"knowledge-batch.log.{number + 1}" for number in range(OLDER_FILES))]
    assert files["knowledge-batch.log"][-1].endswith("one says 0199")


def test_nothing_is_made_before_there_is_something_to_say(home: Path) -> None:
    handler = LogFile()
    assert not home.exists()
    handler.handle(logging.LogRecord("x", logging.INFO, "", 0, "a line", None, None))
    assert [path.name for path in (home / "logs").iterdir()] == ["knowledge-batch.log"]
    assert os.path.getsize(home / "logs" / "knowledge-batch.log") < MAX_BYTES
