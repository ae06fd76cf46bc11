"""The handoffs: every command in them runs and prints what they say, and every file that they name is there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import processes
import pytest

import faults
import flows
from compat.store import Store
from flows.shadow.comparison import run_shadow

ROOT = Path(__file__).parents[2]
HANDOFFS = sorted((ROOT / "deployments" / "handoffs").glob("*.md"))


def commands(text: str) -> list[tuple[str, list[str]]]:
    """Each command of the terminals in a text, with the pieces that it is said to print."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


@pytest.fixture
def terminal(environment: pytest.MonkeyPatch, prefect_server: None, request_of: Any, tmp_path: Path) -> dict[str, str]:
    """The environment of a shell whose store has three shadows; `knowledge-batch` is the one of this checkout."""
    for name in ("the-first-shadow", "the-second", "the-third"):
        documents = [faults.document("a"), *(faults.document(f"{name} {number}", fail=3) for number in range(3))]
        flows.run_batch(request_of(documents, name), "shadow")
        run_shadow(Store.from_settings(), Store.of_shadows(), name, "tape")
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "knowledge-batch"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m flows.command.cli "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    environment.delenv("KNOWLEDGE_EXTRACTOR")
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    return processes.environment(PATH=path, PREFECT_HOME=str(tmp_path / "prefect"))


@pytest.mark.slow
@pytest.mark.parametrize("handoff", HANDOFFS, ids=lambda path: path.stem)
def test_every_command_prints_what_is_said(handoff: Path, terminal: dict[str, str], tmp_path: Path) -> None:
    shell = shutil.which("bash")
    assert shell is not None
    ran = commands(handoff.read_text(encoding="utf-8"))
    assert len(ran) >= 5
    for command, pieces in ran:
        done = subprocess.run([shell, "-c", command], capture_output=True, text=True, cwd=tmp_path, env=terminal)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        for piece in pieces:
            assert piece in done.stdout + done.stderr, f"{command}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("handoff", HANDOFFS, ids=lambda path: path.stem)
def test_every_file_that_is_named_is_there(handoff: Path) -> None:
    named = re.findall(
        r"`((?:compat|flows|tests|deployments|legacy)/[\w./]*|[\w]+\.(?:md|yaml))`", handoff.read_text(encoding="utf-8")
    )
    assert len(named) >= 4
    assert [name for name in named if not (ROOT / name).exists() and not (handoff.parent / name).exists()] == []
