"""The commands ``parity`` and ``cutover``: what the shadows have shown, and whether it is enough."""

import shlex
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from compat.contracts import utc_now
from compat.cutover import record
from compat.errors import BatchNotFoundError, InvalidInputError, KnowledgeBatchError, NotFound, Problem
from compat.parity import archive, gate, render
from compat.parity.report import ParityReport, page
from compat.parity.versions import versions
from compat.settings import Settings
from compat.store import Store, shadow_requests
from flows.command.cutover.drill import drill
from flows.command.files import check_file, writing
from flows.command.terminal import BatchId, Format, check_format, group, note, plain, print_json, show

parity_app = group("Whether the engine did what legacy did.")
cutover_app = group("Whether the engine may take over.")


class ReportNotFoundError(NotFound):
    """The batch hasn't been compared yet."""

    batch_id: str
    reason: str

    def __str__(self) -> str:
        return f"Batch {self.batch_id} has no parity report: {self.reason}"


@parity_app.command(name="show")
def parity_show(batch_id: BatchId, format: Format = "table") -> None:
    """Print the newest comparison of a batch, or a report by its id: verdict, differences, how much was compared."""
    check_format(format)
    found = archive.reports(Store.of_shadows().database, batch_id)
    if not found:
        raise _missing(batch_id)
    for older in found[1:]:
        note(f"compared before, at {older.created_at:%Y-%m-%d %H:%M:%S} UTC: {older.verdict}, {older.report_id}")
    if format == "json":
        print_json(found[0].to_dict())
    else:
        typer.echo(render.markdown(found[0]), nl=False)


@parity_app.command(name="report")
def parity_report(
    since: Annotated[str, typer.Option(help="How far back, such as 7d, 12h or 30m.", metavar="AGE")] = "7d",
    html: Annotated[Path | None, typer.Option(help="A file to write them to as one page.", metavar="FILE")] = None,
    format: Format = "table",
) -> None:
    """List the comparisons of the last days, the newest first."""
    check_format(format)
    if html is not None:
        check_file("--html", html)
    found = archive.reports(Store.of_shadows().database, since=utc_now() - gate.parse_age(since, "--since"))
    if html is not None:
        with writing("--html", html):
            html.write_text(page(found), encoding="utf-8")
        note(f"{len(found)} reports in {html}")
    if format == "json":
        print_json([report.to_dict() for report in found])
        return
    tally = Counter(report.verdict for report in found)
    table = Table(box=None, pad_edge=False)
    for heading in ("batch", "verdict", "channel", "policy"):
        table.add_column(heading, overflow="fold")
    for heading in ("documents", "attempts", "differences"):
        table.add_column(heading, justify="right")
    table.add_column("compared (UTC)")
    for report in found:
        table.add_row(*plain(*_line(report)))
    show(table)
    note(", ".join(f"{count} {verdict}" for verdict, count in sorted(tally.items())) or f"no comparison in the last {since}")


@parity_app.command(name="baseline")
def parity_baseline(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Documents like those of the live channel.")],
    runs: Annotated[int, typer.Option(help="How often legacy runs, 2 or more.", metavar="K")] = 3,
    ontology: Annotated[
        str, typer.Option(help="The ontology's Turtle file; by default the one in the source's folder.", metavar="FILE")
    ] = "",
    policy: Annotated[
        str, typer.Option(help="The policy of the batches that it is to judge.", metavar="POLICY")
    ] = "continue-on-failure",
    format: Format = "table",
) -> None:
    """Measure how often legacy differs from itself; differences of the live channel count only above that."""
    from flows.shadow.baseline import measured

    check_format(format)
    if runs < 2:
        raise InvalidInputError([Problem("--runs", runs, "legacy can't differ from itself in one run; ask for 2 or more")])
    settings = Settings.load()
    baseline = measured(source, ontology, policy, runs, settings)
    archive.save_baseline(Store.of_shadows(settings).database, baseline)
    if format == "json":
        print_json(baseline.to_dict())
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("what", "differing", "compared", "rate, 95 % interval"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    noisy = {**baseline.columns, **{name: noise for name, noise in baseline.documents.items() if noise.differing}}
    for name, noise in noisy.items():
        low, high = noise.interval
        table.add_row(*plain(name, str(noise.differing), str(noise.compared), f"{low:.1%} to {high:.1%}"))
    if noisy:
        show(table)
    note(f"{baseline.runs} runs of {len(baseline.documents)} documents: " + ("noise as above" if noisy else "no noise"))


@cutover_app.callback()
def _group() -> None:
    # A group with one command would be that command itself.
    pass


@cutover_app.command(name="check")
def cutover_check(
    min_batches: Annotated[int, typer.Option(help="Fresh batches wanted for every risk.", metavar="N")] = 50,
    max_age: Annotated[str, typer.Option(help="How old evidence may be, such as 7d or 12h.", metavar="AGE")] = "7d",
    format: Format = "table",
) -> None:
    """Whether the engine may take over: exit 0 go, 1 no-go, 2 not enough evidence, or none that is fresh.

    After a demotion only evidence that is younger counts.
    """
    check_format(format)
    age = gate.parse_age(max_age, "--max-age")
    main = Store.from_settings().database
    checked = archive.judged(main, Store.of_shadows().database, min_batches, age, record.evidence_since(main))
    if format == "json":
        print_json(checked.to_dict())
    else:
        show(gate_table(checked))
        for text in checked.missing:
            note(text)
        now = versions()
        note(f"of knowledge-batch {now.knowledge_batch}, code {now.code}, schema {now.schema}, Prefect {now.prefect}")
    raise typer.Exit(checked.exit_code)


def gate_table(checked: gate.CutoverCheck) -> Table:
    """Return the evidence risk by risk, and the verdict."""
    table = Table(box=None, pad_edge=False)
    for heading in ("risk", "evidence"):
        table.add_column(heading)
    for heading in ("batches", "documents", "attempts", "divergences", "upper 95 %"):
        table.add_column(heading, justify="right")
    for heading in ("from (UTC)", "to (UTC)", "verdict", "because"):
        table.add_column(heading)
    for row in checked.rows:
        ages = ["" if moment is None else f"{moment:%Y-%m-%d %H:%M}" for moment in (row.oldest, row.newest)]
        counts = (str(row.batches), str(row.documents), str(row.attempts), str(row.divergences), f"{row.upper_bound:.1%}")
        table.add_row(*plain(row.risk, row.kind, *counts, *ages, row.verdict, row.reason))
    table.add_row(*plain("all", *[""] * 8, checked.verdict, ""))
    return table


def _line(report: ParityReport) -> tuple[str, ...]:
    differences = str(sum(report.counts.values()))
    counts = (str(report.documents), str(report.attempts), differences)
    return (report.batch_id, report.verdict, report.channel, report.policy, *counts, f"{report.created_at:%Y-%m-%d %H:%M:%S}")


def _missing(batch_id: str) -> KnowledgeBatchError:
    store = Store.from_settings()
    try:
        store.has_ended(batch_id)
    except BatchNotFoundError as error:
        return error
    request = shadow_requests.find(store.database, batch_id)
    if request is None:
        advice = "it has no shadow; run it with --mode shadow, or: prefect deployment run shadow-batch/shadow "
        return ReportNotFoundError(batch_id, advice + f"--param batch_id={shlex.quote(batch_id)} --param channel=live")
    return ReportNotFoundError(batch_id, f"its shadow was {request.summary}")


cutover_app.command(name="drill")(drill)
