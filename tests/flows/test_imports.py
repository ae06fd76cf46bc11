"""What a run of the command imports: a library that only another command needs costs every user its time."""

import subprocess
import sys
from typing import Any

import click
import pytest
import typer

from flows.command.cli import Commands, app
from flows.command.terminal import Later

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
    assert imported("list") & (HEAVY | {"numpy", "Stemmer", "rapidfuzz", "sentencex"}) == set()


def test_help_imports_neither_the_store_nor_what_any_command_needs() -> None:
    assert imported("--help") & (HEAVY | {"sqlalchemy", "rdflib", "fsspec", "numpy"}) == set()


@pytest.mark.usefixtures("environment")
def test_status_and_list_serve_nothing_and_load_nothing_that_serves() -> None:
    program = "import sys, flows.command.cli as cli\ntry:\n    cli.app(['list'])\nfinally:\n    print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.splitlines()[-1].split()) & {"flows.serving", "flows.sources", "flows.graph.rdf"} == set()


def test_the_list_of_commands_has_the_first_sentence_of_each() -> None:
    group: Any = typer.main.get_command(app)
    context = click.Context(group)
    listed = {each.name: each.help for each in Commands.listed if isinstance(each, Later)}
    assert set(listed) < set(group.list_commands(context))
    assert {name: group.get_command(context, name).get_short_help_str(1000) for name in listed} == listed
