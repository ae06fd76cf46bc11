"""A command's output: one result on stdout, as a table or as JSON, and everything else on stderr."""

import importlib
import json
import logging
import sys
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from compat.errors import InvalidInputError, Problem
from compat.keepable import neutral_json, one_line

log = logging.getLogger("knowledge_batch")


@dataclass(frozen=True)
class Later:
    """A command or group that is imported as it is called: its name, its place, ``module:attribute`` in here, its sentence."""

    name: str
    place: str
    help: str

    def load(self) -> Any:
        """Import it and return it."""
        module, _, attribute = self.place.partition(":")
        found = getattr(importlib.import_module(f"flows.command.{module}"), attribute)
        if isinstance(found, typer.Typer):
            command: Any = typer.main.get_group(found)
        else:
            alone = typer.Typer(add_completion=False, rich_markup_mode=None)
            alone.command()(found)
            command = typer.main.get_command(alone)
        command.name = self.name
        return command


class Group(TyperGroup):
    """A group of commands whose list shows each one's first sentence in full."""

    # In this order; what is named alone is the group's own.
    listed: ClassVar[tuple[Later | str, ...]] = ()

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self._later = {each.name: each for each in self.listed if isinstance(each, Later)}
        names = [each.name if isinstance(each, Later) else each for each in self.listed]
        # Known by name before they are loaded: for the list, and for advice on a misspelt one.
        known: dict[str, Any] = {name: self.commands.get(name) for name in names}
        self.commands = {**known, **self.commands}

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, loaded if it has not been."""
        if cmd_name in self._later and self.commands[cmd_name] is None:
            self.commands[cmd_name] = self._later[cmd_name].load()
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands."""
        rows = []
        for name in self.list_commands(ctx):
            later = self._later.get(name)
            if later is not None:
                rows.append((name, later.help))
            elif not (command := self.get_command(ctx, name)).hidden:
                rows.append((name, command.get_short_help_str(1000)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def group(help: str) -> typer.Typer:
    """Return a group of commands; without one, it shows its help."""
    return typer.Typer(help=help, cls=Group, no_args_is_help=True, rich_markup_mode=None)


BatchId = Annotated[str, typer.Argument(metavar="ID", help="The batch id.")]
Format = Annotated[str, typer.Option("--format", help="table or json.", metavar="table|json")]


def whole_number(value: str) -> int:
    """Return an option's number; its bounds are checked with the rest of the request."""
    try:
        return int(value)
    except ValueError:
        raise typer.BadParameter(f"{value!r} is not a whole number; give one, such as 3") from None


# Options of `run` and `fan-out` alike.
Ontology = Annotated[str, typer.Option(help="The ontology's file; by default the one in the source's folder.", metavar="FILE")]
Policy = Annotated[str, typer.Option(help="continue-on-failure, abort-all or retry-failed.", metavar="POLICY")]
MaxRetries = Annotated[
    int, typer.Option(parser=whole_number, metavar="N", help="Rounds for failed documents under retry-failed, 0 to 1,000.")
]
NoResolution = Annotated[bool, typer.Option("--no-resolution", help="Don't merge entities across documents.")]
IdColumn = Annotated[str, typer.Option(metavar="NAME", help="The column or key of a document's id.")]
TextColumn = Annotated[str, typer.Option(metavar="NAME", help="The column or key of a document's text.")]
Query = Annotated[str, typer.Option(metavar="SQL", help="The query whose rows are the documents, for a database.")]


def plain(*cells: str) -> list[Any]:
    """Return a table's cells as text: ids and texts may contain markup, line ends and control characters."""
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
    write_json(json.dumps(value, ensure_ascii=False))


def write_json(text: str) -> None:
    """Print a JSON text on a line of its own, in which nothing steers the terminal."""
    sys.stdout.write(neutral_json(text) + "\n")
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
