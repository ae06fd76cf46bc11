"""The examples of README and docs/ run as a reader would run them, and print what is said."""

import re
import subprocess
import sys
from pathlib import Path

import pages
import processes
import pytest

WITH_PYTHON = [page for page in pages.PAGES if any(block.language == "python" for block in pages.blocks(page))]


@pytest.fixture
def folder(environment: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A reader's empty folder, and an environment without settings."""
    environment.delenv("KNOWLEDGE_EXTRACTOR")
    return tmp_path


def run(arguments: list[str], folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=processes.environment(PREFECT_HOME=str(folder / "prefect")),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("page", WITH_PYTHON, ids=pages.name)
def test_every_python_example_runs_and_prints_what_is_said(page: Path, folder: Path) -> None:
    blocks = pages.blocks(page)
    for block in blocks:
        if block.file:
            (folder / block.file).write_text(block.content, encoding="utf-8")
    ran = [
        (block.content, following.content if following.language == "text" and not following.file else None)
        for block, following in zip(blocks, [*blocks[1:], pages.Block("", "")], strict=True)
        if block.language == "python" and not block.file
    ]
    assert ran
    for code, said in ran:
        printed = run(["-c", code], folder)
        assert said is None or printed == said


def test_readmes_picture_of_a_run_is_what_the_sample_gives(folder: Path) -> None:
    [picture] = [block.content for block in pages.blocks(pages.ROOT / "README.md") if "documents  25" in block.content]

    def same_every_time(text: str) -> str:
        return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", re.sub(r"\d+\.\d s", "SECONDS", text))

    printed = run(["-m", "flows.command.cli", "run", "sample"], folder)
    assert same_every_time(printed) == same_every_time(picture)
