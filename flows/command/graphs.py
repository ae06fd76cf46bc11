"""The commands that give a graph: export it to a file, look at it."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from compat.errors import InvalidInputError, Problem
from compat.store import Store, graphs
from flows.command import fan_out
from flows.command.terminal import note
from flows.graph import export as exporting
from flows.graph.merged import MergedGraph

BatchIds = Annotated[
    list[str], typer.Argument(metavar="ID…", help="A batch or fan-out, or several that are merged in this order.")
]
NoResolution = Annotated[bool, typer.Option("--no-resolution", help="Documents' own entities, not merged across documents.")]
_ENDINGS = ", ".join(exporting.FORMATS)


def export(
    batch_ids: BatchIds,
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help=f"Its ending names the format: {_ENDINGS}.")],
    evidence: Annotated[
        bool,
        typer.Option("--evidence", help="Evidence in .ttl, .nt and .rdf too; .trig, .nq and .jsonld always have it."),
    ] = False,
    tables: Annotated[
        bool, typer.Option("--tables", help="Tables of nodes and of edges, in place of one of statements (.csv, .parquet).")
    ] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Cells of a .csv as they are; spreadsheets may run them.")] = False,
    no_resolution: NoResolution = False,
) -> None:
    """Write the merged graph of batches to a file, in the format of its ending."""
    ending = exporting.check(to)
    applies = {
        "--evidence": (evidence, (".ttl", ".nt", ".rdf", ".trig", ".nq", ".jsonld")),
        "--tables": (tables, (".csv", ".parquet")),
        "--raw": (raw, (".csv",)),
    }
    for option, (given, endings) in applies.items():
        if given and ending not in endings:
            raise InvalidInputError([Problem(option, str(to), f"is for {', '.join(endings)}; leave it out")])
    graph = MergedGraph(Store.from_settings(), batch_ids, merge=not no_resolution)
    fan_out.note_missing(batch_ids)
    written = exporting.write(graph, to, exporting.Options(evidence, tables, raw))
    note(f"{written.count} {written.what} in {', '.join(map(str, written.files))}; {_entities(graph)}")


def view(
    batch_ids: BatchIds,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FILE.html", help="Where the page goes; without it to graph.html, and a browser opens it."),
    ] = None,
    no_resolution: NoResolution = False,
) -> None:
    """Make a page of the merged graph that needs nothing else: to look at, search, and read where each fact is from."""
    file = to or Path("graph.html")
    if exporting.check(file) != ".html":
        raise InvalidInputError([Problem("--to", str(file), "a page ends in .html; other formats are export's")])
    graph = MergedGraph(Store.from_settings(), batch_ids, merge=not no_resolution)
    fan_out.note_missing(batch_ids)
    written = exporting.write(graph, file, exporting.Options())
    note(f"{_entities(graph)}; the page is {file.absolute()}")
    if written.count < graph.count("node"):
        note(f"it holds the {written.count} most connected ones; export has all")
    if to is None:
        webbrowser.open(file.absolute().as_uri())


def _entities(graph: MergedGraph) -> str:
    return f"entities: {graphs.counted(graph.own_entities(), graph.count('node') if graph.is_merged else None)}"
