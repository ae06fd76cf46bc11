"""The command ``knowledge-batch``. Results go to stdout, everything else to stderr; exit codes are part of the contract."""

import logging
import os
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from compat.errors import BatchNotFoundError, InvalidInputError, KnowledgeBatchError, Problem
from compat.proxies import keep_loopback_direct
from flows.command.log import LogFile, Neutral
from flows.command.terminal import BatchId, Format, Group, Later, check_format, fail, plain, print_json, show


class Commands(Group):
    """All commands. Those of other modules are loaded when they are called, so that no command waits for another's imports.

    Their sentences stand here too, for the list of commands, which loads none; a test holds them to their commands'.
    """

    listed = (
        Later("run", "batches:run", "Run a batch and show its result."),
        Later(
            "resume",
            "batches:resume",
            "Go on with a failed or interrupted batch or fan-out; documents that succeeded don't run again.",
        ),
        "status",
        "events",
        "cancel",
        "list",
        Later(
            "fan-out",
            "fan_out:fan_out",
            "Cut a source into batches, each a flow run, for any number of workers; run again, it submits what is missing.",
        ),
        Later("export", "graphs:export", "Write the merged graph of batches to a file, in the format of its ending."),
        Later(
            "view",
            "graphs:view",
            "Make a page of the merged graph that needs nothing else: to look at, search, and read where each fact is from.",
        ),
        Later(
            "train",
            "evaluation:train",
            "Train a model of the linear extractor on texts whose triples people wrote down (extra train).",
        ),
        Later(
            "evaluate",
            "evaluation:evaluate",
            "Compare what an extractor finds with triples that people wrote down; nothing is stored.",
        ),
        Later("calls", "models:calls", "Print the calls that a batch made to a model, or had answered from the store."),
        Later(
            "prune",
            "administration:prune",
            "Count, and with --delete remove, ended batches, shadow runs, unused answers and calls that are older.",
        ),
        Later(
            "deploy",
            "administration:deploy",
            "Create the deployments that the server at PREFECT_API_URL lacks, and update ours; what operators set stays.",
        ),
        Later(
            "evidence",
            "cutover.evidence:evidence",
            "Show R1 to R9: what was built, the tests by name, the figures with their age, and what they come to.",
        ),
        Later(
            "up", "administration:up", "Start Prefect's server, deployments and a worker on this machine; Ctrl-C stops them all."
        ),
        Later("mode", "cutover.modes:mode_app", "Which runtime serves the next batch, in every process."),
        Later("retries", "administration:retries_app", "Proof that retries have one owner."),
        Later("db", "administration:db_app", "The database's tables."),
        Later("automations", "administration:automations_app", "Prefect's automations."),
        Later("parity", "cutover.parity:parity_app", "Whether the engine did what legacy did."),
        Later("cutover", "cutover.parity:cutover_app", "Whether the engine may take over."),
    )


app = typer.Typer(
    name="knowledge-batch",
    help="Documents and an ontology go in, a knowledge graph comes out.",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    # Plain words on stderr: an error that is folded into a box can't be searched for.
    rich_markup_mode=None,
)


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


@app.command()
def status(batch_id: BatchId, format: Format = "table") -> None:
    """Show where a batch or fan-out stands."""
    from rich.table import Table

    import flows
    from compat.settings import Settings
    from compat.store import Store, graphs, shadow_requests
    from compat.store.overview import reruns
    from flows.command import models
    from flows.command.outcome import add_failures, rerun_command

    check_format(format)
    try:
        state = flows.get_status(batch_id)
    except BatchNotFoundError:
        from flows.command import fan_out

        fan_out.status(batch_id, format)
        return
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
    import flows

    for event in flows.subscribe(batch_id, follow):
        print_json(event.model_dump(mode="json"))


@app.command()
def cancel(batch_id: BatchId) -> None:
    """Cancel a batch or fan-out: no further document starts; those in work finish."""
    import flows

    try:
        print_json(flows.cancel_batch(batch_id).model_dump(mode="json"))
    except BatchNotFoundError:
        from flows.command import fan_out

        fan_out.cancel(batch_id)


@app.command(name="list")
def list_(limit: Annotated[int, typer.Option(help="How many batches to list.", min=1)] = 20, format: Format = "table") -> None:
    """List batches, the newest first."""
    from rich.table import Table

    import flows
    from compat.store import graphs

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


def _keep_the_terminal_ours() -> None:
    """Prefect's console is silent; of our own lines the terminal shows errors (a rollback is one), a file shows all."""
    # Read when prefect is imported, which no command does before its first engine batch.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_CLI_PROMPT", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    keep_loopback_direct()
    # Of a Prefect that is silent, the handler of its logs would tell the terminal.
    logging.raiseExceptions = False
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
