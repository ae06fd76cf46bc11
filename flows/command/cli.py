"""The command ``knowledge-batch``. Results go to stdout, everything else to stderr; exit codes are part of the contract."""

import logging
import os
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

import flows
from compat.contracts import BatchState, Failed
from compat.errors import Exit, InvalidInputError, KnowledgeBatchError, Problem, is_terminal
from compat.ids import new_id
from compat.settings import Settings, settings_of_this_call
from compat.store import Store, graphs, shadow_requests
from compat.store.database import SHADOW, Database
from compat.store.migrations import HEAD
from flows.command import graphs as graph_commands
from flows.command import models
from flows.command import parity as evidence
from flows.command.log import LogFile
from flows.command.progress import shown_progress
from flows.command.terminal import BatchId, Format, check_format, note, plain, print_json, show
from flows.graph import export as exporting
from flows.operations import stack
from flows.sources import ontologies
from flows.sources import readers as sources

app = typer.Typer(
    name="knowledge-batch",
    help="Documents and an ontology go in, a knowledge graph comes out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    # Plain words on stderr: an error that is folded into a box can't be searched for.
    rich_markup_mode=None,
)
mode_app = typer.Typer(help="Which runtime serves the next batch, in every process.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(mode_app, name="mode")
retries_app = typer.Typer(help="Proof that retries have one owner.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(retries_app, name="retries")
db_app = typer.Typer(help="The database's tables.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(db_app, name="db")
automations_app = typer.Typer(help="Prefect's automations.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(automations_app, name="automations")
app.command()(models.calls)
app.command()(models.prune)
app.add_typer(evidence.parity_app, name="parity")
app.add_typer(evidence.cutover_app, name="cutover")


@retries_app.callback()
@automations_app.callback()
@db_app.callback()
def _group() -> None:
    # A group with one command would be that command itself.
    pass


Mode = Annotated[
    str | None, typer.Option(help="legacy, engine or shadow; by default KNOWLEDGE_WORKFLOW_MODE or the stored mode.")
]


Extractor = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="rules, llm, or package.module:factory; by default KNOWLEDGE_EXTRACTOR."),
]


def whole_number(value: str) -> int:
    """Return an option's number; its bounds are checked with the rest of the request."""
    try:
        return int(value)
    except ValueError:
        raise typer.BadParameter(f"{value!r} is not a whole number; give one, such as 3") from None


@app.command()
def run(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A folder, a file (a table or a document) or a pattern, as a path or URL; a database's URL; env:NAME; "
            "- for JSON lines on stdin; or: sample.",
        ),
    ],
    ontology: Annotated[
        str, typer.Option(help="The ontology's file; by default the one in the source's folder.", metavar="FILE")
    ] = "",
    mode: Mode = None,
    policy: Annotated[
        str, typer.Option(help="continue-on-failure, abort-all or retry-failed.", metavar="POLICY")
    ] = "continue-on-failure",
    concurrency: Annotated[
        int, typer.Option(parser=whole_number, metavar="N", help="Documents in work at the same time, 1 to 20.")
    ] = 3,
    max_retries: Annotated[
        int, typer.Option(parser=whole_number, metavar="N", help="Rounds for failed documents under retry-failed, 0 to 1,000.")
    ] = 2,
    no_resolution: Annotated[bool, typer.Option("--no-resolution", help="Don't merge entities across documents.")] = False,
    batch_id: Annotated[str | None, typer.Option(help="The batch id; by default a new one.")] = None,
    only_new: Annotated[
        bool, typer.Option("--only-new", help="Leave out documents whose text was extracted before with the same ontology.")
    ] = False,
    id_column: Annotated[str, typer.Option(metavar="NAME", help="The column or key of a document's id.")] = "documentId",
    text_column: Annotated[str, typer.Option(metavar="NAME", help="The column or key of a document's text.")] = "text",
    delimiter: Annotated[
        str, typer.Option(metavar="CHARACTER", help="What separates the fields of a .csv, or: tab; by default it is recognised.")
    ] = "",
    query: Annotated[str, typer.Option(metavar="SQL", help="The query whose rows are the documents, for a database.")] = "",
    extractor: Extractor = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Ask the model again, even if its answer is stored.")] = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Show what the run would ask a model and what that would cost; run nothing.")
    ] = False,
    output: Annotated[Path | None, typer.Option(help="A folder for result.json and graph.ttl.")] = None,
    format: Format = "table",
) -> None:
    """Run a batch and show its result."""
    check_format(format)
    config = {
        "concurrency": concurrency,
        "failurePolicy": policy,
        "maxRetries": max_retries,
        "enableEntityResolution": not no_resolution,
    }
    batch_id = new_id("knowledge_batch_execution") if batch_id is None else batch_id
    documents = sources.load(source, ontology, sources.Columns(id_column, text_column, delimiter), query)
    request = documents.request(batch_id, config)
    # Everything that can be wrong is found before the store is opened, which makes its file.
    with settings_of_this_call(extractor=extractor):
        for line in (ontologies.check(documents, Settings.load().extractor), *documents.reading.notes()):
            note(line)
    flows.current_mode(mode)
    if only_new:
        found = len(request.documents)
        request = request.only_new(Store.from_settings())
        note(f"{found - len(request.documents)} of {found} documents are left out, since they were extracted before")
    with settings_of_this_call(extractor=extractor, llm_fresh_since=time.time() if fresh else None):
        if estimate:
            models.print_estimate(request, Settings.load(), format)
            return
        _finished(batch_id, lambda: flows.run_request(request, mode), format, output)


@app.command()
def resume(
    batch_id: BatchId,
    mode: Mode = None,
    extractor: Extractor = None,
    output: Annotated[Path | None, typer.Option()] = None,
    format: Format = "table",
) -> None:
    """Go on with a failed or interrupted batch; documents that succeeded don't run again."""
    check_format(format)
    with settings_of_this_call(extractor=extractor):
        _finished(batch_id, lambda: flows.resume_request(batch_id, mode), format, output)


@app.command()
def status(batch_id: BatchId, format: Format = "table") -> None:
    """Show where a batch stands."""
    check_format(format)
    state = flows.get_status(batch_id)
    if format == "json":
        print_json(state.model_dump(mode="json"))
        return
    table = Table.grid(padding=(0, 2))
    settings = Settings.load()
    store = Store.from_settings(settings)
    merged = graphs.count(store.database, batch_id).get(batch_id)
    for key, value in state.model_dump(mode="json").items():
        shown = graphs.counted(value, merged) if key == "entityCount" else str(value)
        table.add_row(*plain(key.lstrip("_"), f"{value:.0%}" if key == "progress" else shown))
    for row in models.call_rows(store, batch_id, settings):
        table.add_row(*plain(*row))
    shadow = shadow_requests.find(store.database, batch_id)
    if shadow is not None:
        table.add_row("shadow", *plain(shadow.summary))
    show(table)


@app.command()
def events(
    batch_id: BatchId,
    follow: Annotated[bool, typer.Option("--follow", help="Print new events until the batch has ended.")] = False,
) -> None:
    """Print the events of a batch, one JSON object per line."""
    for event in flows.subscribe(batch_id, follow):
        print_json(event.model_dump(mode="json"))


@app.command()
def cancel(batch_id: BatchId) -> None:
    """Cancel a batch: no further document starts; those in work finish."""
    print_json(flows.cancel_batch(batch_id).model_dump(mode="json"))


@app.command(name="list")
def list_(limit: Annotated[int, typer.Option(help="How many batches to list.", min=1)] = 20, format: Format = "table") -> None:
    """List batches, the newest first."""
    check_format(format)
    batches = flows.list_batches(limit)
    if format == "json":
        print_json([batch.model_dump(mode="json") for batch in batches])
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("batch", "mode", "status"):
        table.add_column(heading, overflow="fold")
    for heading in ("documents", "failed", "entities", "relations"):
        table.add_column(heading, justify="right")
    table.add_column("created (UTC)")
    for batch in batches:
        done = f"{batch.completed_documents + batch.failed_documents}/{batch.total_documents}"
        entities = graphs.counted(batch.entity_count, batch.canonical_entity_count)
        counts = (batch.failed_documents, entities, batch.relation_count)
        row = (batch.batch_id, batch.mode, batch.status, done, *map(str, counts), f"{batch.created_at:%Y-%m-%d %H:%M:%S}")
        table.add_row(*plain(*row))
    show(table)


app.command()(graph_commands.export)
app.command()(graph_commands.view)


@app.command()
def up(
    port: Annotated[
        int, typer.Option(parser=whole_number, metavar="N", help="The port of Prefect's server and its page.")
    ] = 4200,
) -> None:
    """Start Prefect's server, deployments and a worker on this machine; Ctrl-C stops them all."""
    stack.up(port, note)


@db_app.command(name="upgrade")
def db_upgrade() -> None:
    """Create the tables, or upgrade those of an older version, including those of shadow runs."""
    url = Settings.load().url
    for namespace in (None, SHADOW):
        Database(url, namespace, upgrade=True)
        note(f"up to date: {namespace or 'main'} (schema {HEAD})")


@automations_app.command(name="apply")
def automations_apply(
    notify: Annotated[
        str | None,
        typer.Option(help="The notification block, TYPE/NAME, or none; by default the present one stays.", metavar="BLOCK"),
    ] = None,
) -> None:
    """Create or update the automations on the server at PREFECT_API_URL."""
    from flows.operations import automations

    for name in automations.apply(notify):
        note(f"in place: {name}")


@mode_app.command(name="show")
def mode_show() -> None:
    """Show the mode of the next batch, and what chose it."""
    decision = flows.current_mode()
    sys.stdout.write(f"{decision.mode} ({decision.reason})\n")


@mode_app.command(name="set")
def mode_set(mode: Annotated[str, typer.Argument(metavar="MODE", help="legacy, engine or shadow.")]) -> None:
    """Store the mode for every process, from the next batch on. Needs no Prefect."""
    flows.set_mode(mode)
    mode_show()


@mode_app.command(name="demote")
def mode_demote(
    reason: Annotated[str, typer.Argument(metavar="REASON", help="Why; it is stored with every batch that goes to legacy.")],
) -> None:
    """Send every batch to legacy, whatever callers, environments and the stored mode say, until mode restore."""
    flows.demote(reason)
    mode_show()


@mode_app.command(name="restore")
def mode_restore() -> None:
    """End a demotion: callers, environments and the stored mode decide again."""
    flows.demote(None)
    mode_show()


@retries_app.command(name="audit")
def retries_audit(
    batch_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="A batch; by default all of them.")] = None,
    format: Format = "table",
) -> None:
    """Check code, Prefect's settings and stored attempts for second owners of retries; exit with 1 if there are any."""
    from flows.operations.audit import audit

    check_format(format)
    settings = Settings.load()
    found = audit(Store.from_settings(settings), settings.extractor, batch_id)
    if format == "json":
        print_json(found.to_dict())
    else:
        table = Table.grid(padding=(0, 2))
        table.add_row("code", f"{found.files} files read")
        for owner in found.ledger:
            made = f"{owner.batches} batches, {owner.documents} documents, {owner.attempts} attempts"
            table.add_row(owner.owner, f"{made}, {owner.over_budget} documents over their budget")
        table.add_row("findings", str(len(found.findings)))
        for finding in found.findings:
            table.add_row("", *plain(str(finding)))
        show(table)
    raise typer.Exit(Exit.FAILED if found.findings else Exit.COMPLETED)


def _finished(batch_id: str, work: Callable[[], BatchState], format: str, output: Path | None) -> None:
    """Run to the end with progress shown, print the result, and exit by the batch's status."""
    if output is not None:
        _make(output)
    began = time.monotonic()
    try:
        with shown_progress(batch_id, Console(stderr=True)):
            state = work()
    except KeyboardInterrupt:
        note(f"interrupted; go on with: knowledge-batch resume {shlex.quote(batch_id)}")
        raise typer.Exit(128 + signal.SIGINT) from None
    seconds = time.monotonic() - began
    store = Store.from_settings()
    if output is not None:
        (output / "result.json").write_text(store.result(batch_id).model_dump_json(indent=1), encoding="utf-8")
        exporting.export(store, [batch_id], output / "graph.ttl")
    if format == "json":
        sys.stdout.write(store.result(batch_id).model_dump_json() + "\n")
    else:
        _print_result(store, state, seconds)
    code = {"Failed": Exit.FAILED, "Cancelled": Exit.CANCELLED}.get(type(state).__name__, Exit.COMPLETED)
    raise typer.Exit(code)


def _make(output: Path) -> None:
    """Create the output folder before the batch, which may take hours."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output):
            pass
    except OSError as error:
        advice = f"can't be written to ({error.strerror}); name another folder"
        raise InvalidInputError([Problem("--output", str(output), advice)]) from None


def _print_result(store: Store, state: BatchState, seconds: float, most: int = 10) -> None:
    batch_id = state.batch_id
    batch = store.batch(batch_id)
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", style="bold")
    table.add_column(overflow="fold")
    table.add_row("batch", *plain(batch_id))
    table.add_row("status", type(state).__name__.lower())
    done = f"{batch.finished_documents} ({batch.completed_documents} extracted, {batch.failed_documents} failed)"
    table.add_row("documents", done)
    for document_id, failure in store.failures(batch_id, most).items():
        table.add_row("failed", *plain(f"{document_id}: {failure.cause}"))
    if batch.failed_documents > most:
        table.add_row("", f"… and {batch.failed_documents - most} more; --format json has them all")
    merged = graphs.count(store.database, batch_id).get(batch_id)
    table.add_row("entities", graphs.counted(batch.entity_count, merged))
    table.add_row("relations", str(batch.relation_count))
    for name, value in models.call_rows(store, batch_id, Settings.load()):
        table.add_row(name, *plain(value))
    table.add_row("time", f"{seconds:.1f} s")
    quoted = shlex.quote(batch_id)
    following = [f"knowledge-batch view {quoted}", f"knowledge-batch export {quoted} --to graph.ttl"]
    if isinstance(state, Failed):
        following = ["mend the input and run it as a new batch: these errors stay the same when the batch is resumed"]
        if not _is_final(store, batch_id):
            following = [f"knowledge-batch resume {quoted}"]
    for title, each in zip(("next", ""), following, strict=False):
        table.add_row(title, *plain(each))
    show(table)


def _is_final(store: Store, batch_id: str, most: int = 1000) -> bool:
    """Whether no resume can change a batch: every document was tried, and failed of what another attempt can't change."""
    batch = store.batch(batch_id)
    if not 0 < batch.failed_documents == batch.finished_documents == batch.total_documents:
        return False
    causes = [failure.__cause__ for failure in store.failures(batch_id, most).values()]
    return all(cause is not None and is_terminal(cause) for cause in causes)


def _keep_the_terminal_ours() -> None:
    """Prefect's console is silent; of our own lines the terminal shows errors (a rollback is one), a file shows all."""
    # Read when prefect is imported, which no command does before its first engine batch.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_CLI_PROMPT", "false")
    log = logging.getLogger("knowledge_batch")
    # Prefect's configuration replaces the root's handlers, so ours are not left to it.
    log.propagate = False
    errors = logging.StreamHandler()
    errors.setLevel(logging.ERROR)
    errors.setFormatter(logging.Formatter("%(message)s"))
    log.handlers = [errors, LogFile()]


def main() -> None:
    """Run the command. Our own errors become one line on stderr and an exit code."""
    _keep_the_terminal_ours()
    try:
        app(prog_name="knowledge-batch", standalone_mode=True)
    except KnowledgeBatchError as error:
        note(f"error: {error}")
        raise SystemExit(int(error.exit_code)) from None


if __name__ == "__main__":
    main()
