"""A command's output: one result on stdout, as a table or as JSON, and everything else on stderr."""

import json
import logging
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from compat.errors import InvalidInputError, Problem
from compat.keepable import one_line

log = logging.getLogger("knowledge_batch")


class Group(TyperGroup):
    """A group of commands whose list shows each one's first sentence in full."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, command.get_short_help_str(1000)) for name, command in commands if command and not command.hidden]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def group(help: str) -> typer.Typer:
    """Return a group of commands; without one, it shows its help."""
    return typer.Typer(help=help, cls=Group, no_args_is_help=True, rich_markup_mode=None)


BatchId = Annotated[str, typer.Argument(metavar="ID", help="The batch id.")]
Format = Annotated[str, typer.Option("--format", help="table or json.", metavar="table|json")]


def plain(*cells: str) -> list[Any]:
    """Return a table's cells as text: ids and texts may contain markup, line ends, and what steers a terminal."""
    return [Text(one_line(cell)) for cell in cells]


def show(table: Table) -> None:
    """Print a table in full."""
    if sys.stdout.isatty():
        Console().print(table)
        return
    # Without a terminal, nothing may be cut, wrapped or padded to a guessed width.
    # Colours would be asked for by FORCE_COLOR, which programs that read this may have set for others.
    console = Console(width=10_000, force_terminal=False, color_system=None)
    with console.capture() as capture:
        console.print(table)
    sys.stdout.write("".join(line.rstrip() + "\n" for line in capture.get().splitlines()))


def print_json(value: object) -> None:
    """Print a JSON value on a line of its own."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def is_quiet() -> bool:
    """Return whether -q was given."""
    return not log.isEnabledFor(logging.WARNING)


def note(text: str) -> None:
    """Print a line for the person, on stderr; with -q, nothing."""
    if is_quiet():
        return
    sys.stderr.write(one_line(text) + "\n")


def fail(error: Exception) -> None:
    """Print why the command ends, on stderr."""
    head = typer.style("error:", fg="red") if sys.stderr.isatty() else "error:"
    sys.stderr.write(f"{head} {one_line(str(error))}\n")


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
