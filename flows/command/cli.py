"""The command ``knowledge-batch``. Results go to stdout, everything else to stderr; exit codes are part of the contract."""

import logging
import os
import re
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

import flows
from compat.contracts import BatchParams, FailurePolicy
from compat.errors import InvalidInputError, KnowledgeBatchError, Problem
from compat.ids import new_id
from compat.proxies import keep_loopback_direct
from compat.settings import Settings, settings_of_this_call
from compat.store import Store, graphs, shadow_requests
from compat.store.intake import Rerun
from compat.store.overview import rerun_of_failed, reruns
from flows.command import administration, evaluation, models, training
from flows.command import graphs as graph_commands
from flows.command.cutover import drill, evidence, modes, parity
from flows.command.log import LogFile, Neutral
from flows.command.outcome import add_failures, finish_batch, rerun_command
from flows.command.terminal import BatchId, Format, Group, check_format, fail, note, plain, print_json, show, whole_number
from flows.sources import ontologies
from flows.sources import readers as sources
from flows.sources.documents import StreamedParams

app = typer.Typer(
    name="knowledge-batch",
    help="Documents and an ontology go in, a knowledge graph comes out.",
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    # Plain words on stderr: an error that is folded into a box can't be searched for.
    rich_markup_mode=None,
)
app.add_typer(modes.mode_app, name="mode")
app.add_typer(administration.retries_app, name="retries")
app.add_typer(administration.db_app, name="db")
app.add_typer(administration.automations_app, name="automations")
app.add_typer(parity.parity_app, name="parity")
parity.cutover_app.command(name="drill")(drill.drill)
app.add_typer(parity.cutover_app, name="cutover")


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"knowledge-batch {version('knowledge-batch')}\n")
        raise typer.Exit


@app.callback()
def _options(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="The log on stderr too.")] = False,
    version: Annotated[  # noqa: ARG001 -- its callback ends the command
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    log = logging.getLogger("knowledge_batch")
    if quiet and verbose:
        raise InvalidInputError([Problem("--quiet", "--verbose", "is its opposite; give one of them")])
    log.setLevel(logging.ERROR if quiet else logging.INFO if verbose else logging.WARNING)
    if verbose:
        log.handlers[0].setLevel(logging.INFO)


Mode = Annotated[
    str | None, typer.Option(help="legacy, engine or shadow; by default KNOWLEDGE_WORKFLOW_MODE or the stored mode.")
]


Extractor = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="rules, linear, llm, or package.module:factory; by default KNOWLEDGE_EXTRACTOR."),
]


Model = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The model of the linear extractor; by default KNOWLEDGE_LINEAR_MODEL.")
]


FailOnError = Annotated[bool, typer.Option("--fail-on-error", help="Exit with 1 if any document failed.")]


def _refuse_what_does_not_apply(ctx: typer.Context, source: str, policy: str, extractor: str) -> None:
    """Raise InvalidInputError for an option of `run` that would be without effect."""
    other = {}
    if policy != FailurePolicy.RETRY_FAILED:
        other["max_retries"] = "counts under --policy retry-failed alone; add that, or leave this out"
    if policy == FailurePolicy.ABORT_ALL and ctx.params["concurrency"] != 1:
        other["concurrency"] = "has no effect under abort-all, which takes one document at a time; leave it out"
    if extractor in ("rules", "linear"):
        other["fresh"] = f"is for stored answers of a model, and {extractor} asks none; add --extractor llm, or leave this out"
    if not re.search(r"\.[ct]sv|[*?\[]|^env:", source, re.IGNORECASE):
        other["delimiter"] = "is for a .csv file; leave it out"
    if source == sources.SAMPLE:
        other |= dict.fromkeys(("query", "id_column", "text_column"), "doesn't apply to the sample; leave it out")
    if ctx.params["failed_of"] is not None:
        names = ("source", "ontology", "query", "id_column", "text_column", "delimiter", "only_new", "organization")
        other |= dict.fromkeys(names, "doesn't go with --failed-of, whose documents are stored already; give one of them")
    given = [name for name in other if str(ctx.get_parameter_source(name)).endswith("COMMANDLINE")]
    shown = {name: "SOURCE" if name == "source" else "--" + name.replace("_", "-") for name in given}
    if given:
        raise InvalidInputError([Problem(shown[name], ctx.params[name], other[name]) for name in given])


@app.command()
def run(
    ctx: typer.Context,
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            show_default=False,
            help="A folder, a file (a table or a document) or a pattern, as a path or URL; a database's URL; env:NAME; "
            "- for JSON lines on stdin; or: sample.",
        ),
    ] = None,
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
    organization: Annotated[
        str | None, typer.Option(metavar="ID", help="Whose batch it is; by default this installation's own.")
    ] = None,
    only_new: Annotated[
        bool, typer.Option("--only-new", help="Leave out documents whose text was extracted before with the same ontology.")
    ] = False,
    failed_of: Annotated[
        str | None,
        typer.Option(metavar="ID", help="In place of SOURCE: the documents that failed in this batch, as a new batch."),
    ] = None,
    fail_on_error: FailOnError = False,
    id_column: Annotated[str, typer.Option(metavar="NAME", help="The column or key of a document's id.")] = "documentId",
    text_column: Annotated[str, typer.Option(metavar="NAME", help="The column or key of a document's text.")] = "text",
    delimiter: Annotated[
        str, typer.Option(metavar="CHARACTER", help="What separates the fields of a .csv, or: tab; by default it is recognised.")
    ] = "",
    query: Annotated[str, typer.Option(metavar="SQL", help="The query whose rows are the documents, for a database.")] = "",
    extractor: Extractor = None,
    model: Model = None,
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
    with settings_of_this_call(extractor=extractor, linear_model=model):
        extractor_name = Settings.load().extractor
    _refuse_what_does_not_apply(ctx, source or "", policy, extractor_name)
    request: StreamedParams | Rerun
    if failed_of is not None:
        whole = {"batchId": batch_id, "organizationId": "-", "ontologyId": "-", "documents": [], "config": config}
        checked = BatchParams.parse(whole)
        request = rerun_of_failed(Store.from_settings(), failed_of, batch_id, checked.config)
    elif source is None:
        raise InvalidInputError([Problem("SOURCE", "", "is missing; name a folder, a file or a URL, or say: sample")])
    else:
        documents = sources.load(source, ontology, sources.Columns(id_column, text_column, delimiter), query)
        request = documents.request(batch_id, config, organization)
        # Everything that can be wrong is found before the store is opened, which makes its file.
        for line in (ontologies.check(documents, extractor_name), *documents.reading.notes()):
            note(line)
    flows.current_mode(mode, batch_id, request.organization_id)
    if only_new and isinstance(request, StreamedParams):
        found = len(request.documents)
        request = request.only_new(Store.from_settings())
        note(f"{found - len(request.documents)} of {found} documents are left out, since they were extracted before")
    with settings_of_this_call(extractor=extractor, linear_model=model, llm_fresh_since=time.time() if fresh else None):
        if estimate:
            models.print_estimate(request, Settings.load(), format)
            return
        finish_batch(batch_id, lambda: flows.run_request(request, mode), format, output, fail_on_error)


@app.command()
def resume(
    batch_id: BatchId,
    mode: Mode = None,
    extractor: Extractor = None,
    model: Model = None,
    fail_on_error: FailOnError = False,
    output: Annotated[Path | None, typer.Option()] = None,
    format: Format = "table",
) -> None:
    """Go on with a failed or interrupted batch; documents that succeeded don't run again."""
    check_format(format)
    with settings_of_this_call(extractor=extractor, linear_model=model):
        finish_batch(batch_id, lambda: flows.resume_request(batch_id, mode), format, output, fail_on_error)


@app.command()
def status(batch_id: BatchId, format: Format = "table") -> None:
    """Show where a batch stands."""
    check_format(format)
    state = flows.get_status(batch_id)
    settings = Settings.load()
    store = Store.from_settings(settings)
    links = reruns(store, batch_id)
    batch = store.batch(batch_id)
    if format == "json":
        failures = [
            {"documentId": document_id, "attempts": failure.attempt, "error": failure.cause}
            for document_id, failure in store.failures(batch_id).items()
        ]
        linked = {"failedOf": links.failed_of, "rerunBy": list(links.rerun_by)}
        served = {"mode": batch.mode, "modeReason": batch.mode_reason, "resolutionError": batch.resolution_error}
        print_json({**state.model_dump(mode="json"), "failures": failures, **linked, **served})
        return
    table = Table.grid(padding=(0, 2))
    merged = graphs.count(store.database, batch_id).get(batch_id)
    for key, value in state.model_dump(mode="json").items():
        shown = graphs.counted(value, merged) if key == "entityCount" else str(value)
        table.add_row(*plain(key.lstrip("_"), f"{value:.0%}" if key == "progress" else shown))
    for row in models.call_rows(store, batch_id, settings):
        table.add_row(*plain(*row))
    add_failures(table, store, batch)
    for name, linked_id in (("failed of", links.failed_of), *(("rerun by", each) for each in links.rerun_by)):
        if linked_id is not None:
            table.add_row(name, *plain(linked_id))
    if batch.resolution_error is not None:
        table.add_row("not merged", *plain(batch.resolution_error))
    table.add_row("mode", *plain(f"{batch.mode} ({batch.mode_reason})"))
    shadow = shadow_requests.find(store.database, batch_id)
    if shadow is not None:
        table.add_row("shadow", *plain(shadow.summary))
    if batch.ended and batch.failed_documents:
        table.add_row("next", *plain(rerun_command(batch_id)))
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


app.command()(training.train)
app.command()(evaluation.evaluate)


app.command()(models.calls)
app.command()(administration.prune)
app.command()(administration.deploy)
app.command()(evidence.evidence)
app.command()(administration.up)


def _keep_the_terminal_ours() -> None:
    """Prefect's console is silent; of our own lines the terminal shows errors (a rollback is one), a file shows all."""
    # Read when prefect is imported, which no command does before its first engine batch.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_CLI_PROMPT", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    keep_loopback_direct()
    log = logging.getLogger("knowledge_batch")
    # Prefect's configuration replaces the root's handlers, so ours are not left to it.
    log.propagate = False
    errors = logging.StreamHandler()
    errors.setLevel(logging.ERROR)
    errors.setFormatter(Neutral("%(message)s"))
    log.handlers = [errors, LogFile()]


def main() -> None:
    """Run the command. Our own errors become one line on stderr and an exit code."""
    _keep_the_terminal_ours()
    try:
        app(prog_name="knowledge-batch", standalone_mode=True)
    except KnowledgeBatchError as error:
        fail(error)
        raise SystemExit(int(error.exit_code)) from None


if __name__ == "__main__":
    main()
