"""The command ``cutover drill``: the way to the engine and back, practised, and kept as evidence."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from compat.cutover import record
from compat.errors import Exit, InvalidInputError, Problem
from compat.store import Store
from flows.command.files import make_folder
from flows.command.terminal import Format, check_format, note, plain, print_json, show, whole_number


def drill(
    times: Annotated[int, typer.Option("--times", parser=whole_number, metavar="N", help="Drills in a row, on one stack.")] = 1,
    database: Annotated[
        str | None,
        typer.Option("--database", metavar="URL", help="An empty database for the drill; by default a SQLite file of its own."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--folder", metavar="DIR", help="Where its stack, store and logs lie; by default a new folder.")
    ] = None,
    format: Format = "table",
) -> None:
    """Practise the cutover on a local stack of its own: shadow, gate, 5 %, 100 %, a divergence, demotion, legacy.

    Batches run throughout. Exit 0 if none was lost, none was served twice, and old readers were right; the result and the time to
    legacy are kept in this service's store, whose mode is not touched.
    """
    from flows.drill import drill as drills
    from flows.drill.ground import ground

    check_format(format)
    if times < 1:
        raise InvalidInputError([Problem("--times", times, "no drill says nothing; ask for at least 1")])
    ours = Store.from_settings().database
    folder = (folder or Path(tempfile.mkdtemp(prefix="knowledge-batch-drill-"))).absolute()
    make_folder("--folder", folder)
    held: list[drills.Drill] = []
    with ground(folder, database, note):
        for number in range(1, times + 1):
            held.append(drills.hold(f"drill{number}", folder, note))
            record.keep(ours, record.Change("drill", trigger=held[-1].trigger, details=held[-1].to_dict()))
    spread = drills.distribution(held)
    if format == "json":
        print_json({"drills": [each.to_dict() for each in held], "secondsToLegacy": spread})
    else:
        table = Table(box=None, pad_edge=False)
        for heading in (
            "drill",
            "batches",
            "lost",
            "served twice",
            "wrong for old readers",
            "handed over",
            "demoted (s)",
            "legacy (s)",
        ):
            table.add_column(heading, justify="left" if heading == "drill" else "right")
        for each in held:
            counts = (each.batches, len(each.lost), len(each.twice), len(each.wrong), len(each.handed_over))
            times_ = (f"{each.seconds_to_demotion:.2f}", f"{each.seconds_to_legacy:.2f}")
            table.add_row(*plain(each.name, *map(str, counts), *times_))
        show(table)
        for each in held:
            for text in (*each.lost, *each.twice, *each.wrong):
                note(f"{each.name}: {text}")
        note("kept in this service's store; who serves was not changed")
        note("time to legacy: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in spread.items()))
    raise typer.Exit(Exit.COMPLETED if all(each.is_good for each in held) else Exit.FAILED)
