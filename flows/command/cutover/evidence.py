"""The command ``evidence``: what stands against each risk of the migration, as the rows, reports and tests have it."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from compat.cutover import evidence as evidences
from compat.cutover import pages
from compat.errors import Exit, InvalidInputError, Problem
from compat.store import Store
from flows.command.files import check_file, writing
from flows.command.terminal import note, plain, print_json, show

FORMATS = ("table", "markdown", "html", "json")


def evidence(
    format: Annotated[str, typer.Option("--format", help="table, markdown, html or json.", metavar="FORMAT")] = "table",
    to: Annotated[Path | None, typer.Option("--to", help="A file to write it to, instead of stdout.", metavar="FILE")] = None,
    junit: Annotated[
        Path | None, typer.Option("--junit", help="A report of the tests: pytest --junitxml=FILE.", metavar="FILE")
    ] = None,
    min_batches: Annotated[int, typer.Option("--min-batches", help="Fresh batches wanted for every risk.", metavar="N")] = 50,
    max_age: Annotated[str, typer.Option("--max-age", help="How old evidence may be, such as 7d or 12h.", metavar="AGE")] = "7d",
) -> None:
    """Show R1 to R9: what was built, the tests by name, the figures with their age, and what they come to.

    Exit 0 if every risk is shown to be closed, 1 if one is contradicted, 2 if there is not enough evidence of one.
    """
    if format not in FORMATS:
        raise InvalidInputError([Problem("format", format, "is not a format; use " + ", ".join(FORMATS))])
    if to is not None:
        check_file("--to", to)
    found = evidences.gathered(Store.from_settings(), Store.of_shadows(), min_batches, max_age, junit)
    if format == "table" and to is None:
        _print(found)
    elif format == "json" and to is None:
        print_json(found.to_dict())
    else:
        text = pages.page(found) if format == "html" or (to and to.suffix == ".html") else pages.markdown(found)
        if to is None:
            typer.echo(text, nl=False)
        else:
            with writing("--to", to):
                to.write_text(text, encoding="utf-8")
            note(f"the evidence is in {to}")
    verdicts = {risk.verdict for risk in found.risks}
    raise typer.Exit(
        Exit.FAILED if "contradicted" in verdicts else Exit.BAD_INPUT if "not enough" in verdicts else Exit.COMPLETED
    )


def _print(found: evidences.Evidence) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("risk", "verdict", "because", "tests", "newest"):
        table.add_column(heading)
    for risk in found.risks:
        newest = max((figure.at for figure in risk.figures if figure.at), default=None)
        age = evidences.age_of(newest, found.at)
        table.add_row(*plain(risk.risk, risk.verdict, risk.reason, risk.tested, age))
    show(table)
    note(pages.drills(found))
    of = found.versions
    if found.tested_at is None:
        note("no report of the tests was read; write one with pytest --junitxml=FILE, and name it with --junit FILE")
    note(f"of knowledge-batch {of.knowledge_batch}, code {of.code}, schema {of.schema}, Prefect {of.prefect}")
