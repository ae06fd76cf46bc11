"""The command that fans a source out to workers, and what `status`, `resume` and `cancel` do with its id."""

from collections.abc import Mapping
from typing import Annotated

import typer
from rich.table import Table

from compat import fan_outs
from compat.errors import BatchNotFoundError, InvalidInputError, Problem
from compat.fan_outs import FanOut, Standing
from compat.ids import new_id
from compat.modes import parse_mode
from compat.settings import Settings, settings_of_this_call
from compat.store import Store
from compat.store.claims import cancel_again
from flows.command.terminal import (
    Format,
    IdColumn,
    MaxRetries,
    NoResolution,
    Ontology,
    Policy,
    Query,
    TextColumn,
    check_format,
    note,
    plain,
    print_json,
    show,
    whole_number,
)
from flows.context import open_store
from flows.sources import ontologies
from flows.sources import readers as sources

# Where a fixed cost of seconds for each flow run is a small part of the whole.
DOCUMENTS_PER_BATCH = 5_000


def fan_out(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", show_default=False, help="What `run` takes: a folder, a file, a URL, or: sample.")
    ],
    documents_per_batch: Annotated[
        int, typer.Option(parser=whole_number, metavar="N", help="Documents in a batch, and so in a flow run.")
    ] = DOCUMENTS_PER_BATCH,
    ontology: Ontology = "",
    fan_out_id: Annotated[
        str | None, typer.Option(metavar="ID", help="The fan-out's id; by default a new one. One that is known goes on.")
    ] = None,
    mode: Annotated[str, typer.Option(help="legacy, engine or shadow; by default the workers' settings decide.")] = "",
    policy: Policy = "continue-on-failure",
    concurrency: Annotated[
        int, typer.Option(parser=whole_number, metavar="N", help="Documents of a batch in work at the same time, 1 to 20.")
    ] = 3,
    max_retries: MaxRetries = 2,
    no_resolution: NoResolution = False,
    organization: Annotated[
        str | None, typer.Option(metavar="ID", help="Whose batches they are; by default this installation's own.")
    ] = None,
    id_column: IdColumn = "documentId",
    text_column: TextColumn = "text",
    delimiter: Annotated[str, typer.Option(metavar="CHARACTER", help="What separates the fields of a .csv, or: tab.")] = "",
    query: Query = "",
    extractor: Annotated[
        str, typer.Option(metavar="NAME", help="rules, linear, llm, or package.module:factory; by default the workers' own.")
    ] = "",
    format: Format = "table",
) -> None:
    """Cut a source into batches, each a flow run, for any number of workers; run again, it submits what is missing."""
    from flows.fan_out import submission

    check_format(format)
    if documents_per_batch < 1:
        raise InvalidInputError([Problem("--documents-per-batch", documents_per_batch, "is too few; at least 1")])
    if mode:
        parse_mode(mode)
    documents = sources.load(source, ontology, sources.Columns(id_column, text_column, delimiter), query)
    config = {
        "concurrency": concurrency,
        "failurePolicy": policy,
        "maxRetries": max_retries,
        "enableEntityResolution": not no_resolution,
    }
    fan_out_id = new_id("knowledge_fan_out") if fan_out_id is None else fan_out_id
    request = documents.request(fan_out_id, config, organization)
    with settings_of_this_call(extractor=extractor or None):
        settings = Settings.load()
    for line in (ontologies.check(documents, settings.extractor), *documents.reading.notes()):
        note(line)
    submission.check_deployment()
    store = Store.from_settings(settings)
    asked = FanOut(fan_out_id, request.organization_id, request.ontology_id, documents_per_batch, request.config, mode, extractor)
    _submit(store, submission.cut(store, asked, request), format)


def status(fan_out_id: str, format: str) -> None:
    """Show where a fan-out stands. Raises BatchNotFoundError if no fan-out has the id."""
    store = open_store(fan_out_id, "batch_get_status")
    _show(fan_outs.standing(store, _found(store, fan_out_id)), format)


def resume(fan_out_id: str, options: Mapping[str, object], format: str) -> bool:
    """Submit what is missing of a fan-out. Return whether there is one with this id.

    ``options`` are those of `resume` that a fan-out has no use for.
    """
    store = open_store(fan_out_id, "batch_run_dispatch")
    found = fan_outs.find(store.database, fan_out_id)
    if found is None:
        return False
    for name, value in options.items():
        if value:
            raise InvalidInputError([Problem(f"--{name}", value, "is for a batch; a fan-out keeps the options that it has")])
    _submit(store, found, format)
    return True


def cancel(fan_out_id: str) -> None:
    """Cancel a fan-out's batches, those that run and those that wait. Raises BatchNotFoundError if no fan-out has the id."""
    from flows.fan_out import pages

    store = open_store(fan_out_id, "batch_run_dispatch", cancel_again(fan_out_id))
    print_json(pages.as_json(fan_outs.cancel(store, _found(store, fan_out_id))))


def note_missing(ids: list[str]) -> None:
    """Say what of a fan-out is missing in a graph that is made of it now."""
    store = Store.from_settings()
    for each in ids:
        found = fan_outs.find(store.database, each)
        if found is not None and (missing := _not_completed(fan_outs.standing(store, found))):
            note(f"{missing} batches of {each} are not completed, so the graph is not whole yet")


def _found(store: Store, fan_out_id: str) -> FanOut:
    found = fan_outs.find(store.database, fan_out_id)
    if found is None:
        raise BatchNotFoundError(fan_out_id)
    return found


def _not_completed(standing: Standing) -> int:
    return len(standing.parts) - standing.batches["completed"]


def _submit(store: Store, fan_out: FanOut, format: str) -> None:
    from flows.fan_out import submission

    done = submission.submit_missing(store, fan_out)
    note(
        f"{done.submitted} batches were submitted, {done.under_way} are under way already, {done.done} have ended"
        + (f", and {done.hopeless} failed of what another attempt can't change" if done.hopeless else "")
    )
    _show(fan_outs.standing(store, fan_out), format)


def _show(standing: Standing, format: str) -> None:
    from flows.fan_out import pages

    if format == "json":
        print_json(pages.as_json(standing))
        return
    table = Table.grid(padding=(0, 2))
    for name, text in pages.facts(standing).items():
        table.add_row(name, *plain(text))
    listed = pages.unfinished(standing)
    for part in listed[: pages.MOST]:
        table.add_row(part.status, *plain(pages.line(part)))
    if len(listed) > pages.MOST:
        table.add_row("", f"… and {len(listed) - pages.MOST:,} more; --format json has them all")
    table.add_row("next", *plain(pages.next_command(standing)))
    show(table)
