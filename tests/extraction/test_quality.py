"""The figures in the docs are those that their command prints."""

import subprocess
import sys
from pathlib import Path

import pages
import pytest


@pytest.mark.slow
def test_the_tables_of_the_extractors_page_are_what_the_command_prints(data: Path) -> None:
    command = [sys.executable, "tests/benchmarks/extraction_quality.py", str(data / "text2kg"), str(data / "redocred")]
    printed = subprocess.run(command, cwd=pages.ROOT, capture_output=True, text=True, check=True).stdout
    page = (pages.ROOT / "docs" / "guides" / "extractors.md").read_text(encoding="utf-8")
    lines = [line for line in printed.splitlines() if line]
    assert len(lines) == 11
    for line in lines:
        # The speed, in the last cell of the longer rows, is the machine's.
        figures = line.rpartition(" | ")[0] if line.count(" | ") > 3 else line
        assert figures in page
