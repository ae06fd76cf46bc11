"""Running batches: ``run`` and ``resume``."""

import re
import time
from pathlib import Path
from typing import Annotated

import typer

import flows
from compat.contracts import BatchParams, FailurePolicy
from compat.errors import InvalidInputError, Problem
from compat.ids import new_id
from compat.settings import Settings, settings_of_this_call
from compat.store import Store
from compat.store.intake import Rerun
from compat.store.overview import rerun_of_failed
from flows.command import fan_out, models
from flows.command.outcome import finish_batch
from flows.command.terminal import (
    BatchId,
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
    whole_number,
)
from flows.sources import ontologies
from flows.sources import readers as sources
from flows.sources.documents import StreamedParams

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
    ontology: Ontology = "",
    mode: Mode = None,
    policy: Policy = "continue-on-failure",
    concurrency: Annotated[
        int, typer.Option(parser=whole_number, metavar="N", help="Documents in work at the same time, 1 to 20.")
    ] = 3,
    max_retries: MaxRetries = 2,
    no_resolution: NoResolution = False,
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
    id_column: IdColumn = "documentId",
    text_column: TextColumn = "text",
    delimiter: Annotated[
        str, typer.Option(metavar="CHARACTER", help="What separates the fields of a .csv, or: tab; by default it is recognised.")
    ] = "",
    query: Query = "",
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


def resume(
    batch_id: BatchId,
    mode: Mode = None,
    extractor: Extractor = None,
    model: Model = None,
    fail_on_error: FailOnError = False,
    output: Annotated[Path | None, typer.Option(help="A folder for result.json and graph.ttl.")] = None,
    format: Format = "table",
) -> None:
    """Go on with a failed or interrupted batch or fan-out; documents that succeeded don't run again."""
    check_format(format)
    if fan_out.resume(batch_id, {"mode": mode, "extractor": extractor, "model": model, "output": output}, format):
        return
    with settings_of_this_call(extractor=extractor, linear_model=model):
        finish_batch(batch_id, lambda: flows.resume_request(batch_id, mode), format, output, fail_on_error)
