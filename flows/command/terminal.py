"""What a command says: one result on stdout, as a table or as JSON, and everything else on stderr."""

import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from compat.errors import InvalidInputError, Problem

BatchId = Annotated[str, typer.Argument(metavar="ID", help="The batch id.")]
Format = Annotated[str, typer.Option("--format", help="table or json.", metavar="table|json")]


def plain(*cells: str) -> list[Any]:
    """Cells of a table as they are: ids and texts may hold what rich would take for markup."""
    return [Text(cell) for cell in cells]


def show(table: Table) -> None:
    """A table, whole."""
    if sys.stdout.isatty():
        Console().print(table)
        return
    # Without a terminal nothing may be cut or folded to a guessed width, nor padded.
    console = Console(width=10_000)
    with console.capture() as capture:
        console.print(table)
    sys.stdout.write("".join(line.rstrip() + "\n" for line in capture.get().splitlines()))


def print_json(value: object) -> None:
    """One JSON value on a line of its own."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """A line for the person, not for the next program."""
    sys.stderr.write(text + "\n")


def check_format(value: str) -> None:
    """Raises InvalidInputError for a format that is none."""
    if value not in ("table", "json"):
        raise InvalidInputError([Problem("format", value, "use table or json")])
