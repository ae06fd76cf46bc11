"""The handoffs: every command in them runs and prints what they say, and every file that they name is there."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import processes
import pytest
import stacks

import faults
import flows
from flows.operations import stack

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


PRACTICE = commands((ROOT / "deployments" / "handoffs" / "HANDOFF_P4.md").read_text(encoding="utf-8"))[0]


@pytest.fixture
def terminal(environment: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a reader's first terminal, while the local stack runs in the second.

    `knowledge-batch` and `python` are those of this checkout; the reader stands in a folder that has the clone's `deployments`.
    """
    for name in ("KNOWLEDGE_EXTRACTOR", "KNOWLEDGE_RETRY_BASE_SECONDS"):
        environment.delenv(name, raising=False)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, arguments in (("knowledge-batch", "-m flows.command.cli "), ("python", "")):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {arguments}"$@"\n', encoding="utf-8")
        program.chmod(0o755)
    (tmp_path / "deployments").symlink_to(ROOT / "deployments")
    home = tmp_path / "practice"
    store = {"KNOWLEDGE_HOME": str(home), "KNOWLEDGE_DATABASE_URL": f"sqlite:///{home / 'knowledge.db'}"}
    with stacks.up(tmp_path, **store, KNOWLEDGE_EXTRACTOR="rules", KNOWLEDGE_RETRY_BASE_SECONDS="1") as stack:
        path = os.pathsep.join([str(programs), os.environ["PATH"]])
        yield processes.environment(
            **store, PATH=path, PREFECT_HOME=str(tmp_path / "prefect"), PREFECT_API_URL=f"{stack.page}/api"
        )


def type_in(ran: list[tuple[str, list[str]]], folder: Path, terminal: dict[str, str]) -> None:
    shell = shutil.which("bash")
    assert shell is not None
    for command, pieces in ran:
        done = subprocess.run([shell, "-c", command], capture_output=True, text=True, cwd=folder, env=terminal)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        for piece in pieces:
            assert piece in done.stdout + done.stderr, f"{command}\n{done.stdout}{done.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize("handoff", HANDOFFS, ids=lambda path: path.stem)
def test_every_command_prints_what_is_said(handoff: Path, terminal: dict[str, str], tmp_path: Path) -> None:
    ran = commands(handoff.read_text(encoding="utf-8"))
    assert len(ran) >= 5
    if ran[0] != PRACTICE:
        # The prompt's reader has the practice store of the handoff.
        type_in([PRACTICE], tmp_path, terminal)
    type_in(ran, tmp_path, terminal)


def test_a_store_with_others_batches_is_not_practised_on(environment: pytest.MonkeyPatch, request_of: Any) -> None:
    flows.run_batch(request_of([faults.document("a")], "ours"), "legacy")
    program = [sys.executable, str(ROOT / "deployments" / "handoffs" / "practice.py")]
    done = subprocess.run(program, capture_output=True, text=True, env=processes.environment())
    assert done.returncode == 1
    assert "this store holds the batch ours; practise on an empty one" in done.stderr
    assert [batch.batch_id for batch in flows.list_batches()] == ["ours"]


def test_the_walk_begins_with_the_practice_store() -> None:
    assert PRACTICE[0] == "python deployments/handoffs/practice.py"
    # The variables of both terminals, so that the walk can be typed as it stands.
    text = (ROOT / "deployments" / "handoffs" / "HANDOFF_P4.md").read_text(encoding="utf-8")
    typed = "\n".join(re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL))
    assert typed.count("export KNOWLEDGE_HOME=~/.knowledge-batch-practice") == 2
    assert f"PREFECT_API_URL=http://{stack.HOST}:4200/api" in typed


@pytest.mark.parametrize("handoff", HANDOFFS, ids=lambda path: path.stem)
def test_every_file_that_is_named_is_there(handoff: Path) -> None:
    named = re.findall(
        r"`((?:compat|flows|tests|deployments|legacy)/[\w./]*|[\w]+\.(?:md|yaml))`", handoff.read_text(encoding="utf-8")
    )
    assert len(named) >= 4
    assert [name for name in named if not (ROOT / name).exists() and not (handoff.parent / name).exists()] == []
