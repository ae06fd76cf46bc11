"""The tutorial, typed as it stands: from nothing to a graph and a shadow run, on a stack of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pages
import processes
import pytest
import stacks

PAGE = pages.ROOT / "docs" / "tutorial.md"


@pytest.mark.slow
def test_every_step_of_the_tutorial_prints_what_is_said(tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
    for name in ("KNOWLEDGE_DATABASE_URL", "KNOWLEDGE_EXTRACTOR"):
        environment.delenv(name)
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "knowledge-batch"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m flows.command.cli "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    environment.setenv("PATH", os.pathsep.join([str(programs), os.environ["PATH"]]))
    blocks = pages.blocks(PAGE)
    for block in blocks:
        if block.file:
            file = tmp_path / block.file
            file.parent.mkdir(exist_ok=True)
            file.write_text(block.content, encoding="utf-8")
    terminals = [block for block in blocks if block.language == "console"]
    assert len(terminals) >= 4
    alone = [block for block in terminals if not block.marker]
    for block in alone:
        type_in(block, tmp_path, PREFECT_HOME=str(tmp_path / "prefect"))
    with stacks.up(tmp_path, KNOWLEDGE_EXTRACTOR="rules") as stack:
        for block in terminals[len(alone) :]:
            assert block.marker == "needs: knowledge-batch up"
            type_in(block, tmp_path, PREFECT_API_URL=f"{stack.page}/api", PREFECT_HOME=str(tmp_path / "prefect"))


def type_in(block: pages.Block, folder: Path, **variables: str) -> None:
    shell = shutil.which("bash")
    assert shell is not None
    for command, pieces in pages.commands(block.content):
        done = subprocess.run(
            [shell, "-c", command],
            capture_output=True,
            text=True,
            cwd=folder,
            env=processes.environment(**variables),
            timeout=180,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        # An … stands for what differs from run to run.
        for piece in (piece for line in pieces for piece in line.split("…")):
            assert piece in done.stdout + done.stderr, f"{command}\n{done.stdout}{done.stderr}"
