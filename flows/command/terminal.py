"""A command's output: one result on stdout, as a table or as JSON, and everything else on stderr."""

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
    """Return a table's cells without markup: ids and texts may contain what rich would take for it."""
    return [Text(cell) for cell in cells]


def show(table: Table) -> None:
    """Print a table in full."""
    if sys.stdout.isatty():
        Console().print(table)
        return
    # Without a terminal, nothing may be cut, wrapped or padded to a guessed width.
    console = Console(width=10_000)
    with console.capture() as capture:
        console.print(table)
    sys.stdout.write("".join(line.rstrip() + "\n" for line in capture.get().splitlines()))


def print_json(value: object) -> None:
    """Print a JSON value on a line of its own."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Print a line for the person, on stderr."""
    sys.stderr.write(text + "\n")


def check_format(value: str) -> None:
    """Raise InvalidInputError unless the format is table or json."""
    if value not in ("table", "json"):
        raise InvalidInputError([Problem("format", value, "use table or json")])


def whole_number(value: str) -> int:
    """Return an option's number; its bounds are checked with the rest of the request."""
    try:
        return int(value)
    except ValueError:
        raise typer.BadParameter(f"{value!r} is not a whole number; give one, such as 3") from None
