"""What a run of the command imports: a library that only another command needs costs every user its time."""

import subprocess
import sys

import pytest

HEAVY = {"prefect", "pandas", "pyarrow", "networkx", "rustworkx", "jinja2"}
PROGRAM = """
import sys
from flows.command.cli import app
try:
    app(sys.argv[1:])
finally:
    print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def imported(*arguments: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.usefixtures("environment")
def test_a_legacy_run_of_the_command_imports_no_prefect_no_pandas_and_no_pyarrow() -> None:
    assert imported("run", "sample", "--mode", "legacy", "--extractor", "rules") & HEAVY == set()


@pytest.mark.usefixtures("environment")
def test_list_imports_nothing_that_extraction_needs() -> None:
    assert imported("list") & (HEAVY | {"numpy", "snowballstemmer", "rapidfuzz", "sentencex"}) == set()
