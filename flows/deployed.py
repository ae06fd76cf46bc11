"""The flow that Prefect starts, from its UI's form or a schedule. It goes through the same switch as every caller."""

from typing import Annotated, Any, Literal

from prefect import Flow, flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.logging import get_run_logger
from pydantic import Field

import flows
from compat.contracts import BatchConfig, FailurePolicy
from compat.errors import BatchNotFoundError, InvalidStateTransitionError, KnowledgeBatchError, OtherInputError
from compat.settings import Settings, settings_of_this_call
from compat.status import TERMINAL
from compat.store import Store
from flows.engine import publishing
from flows.host.flow_run import batch_id_of, final_state
from flows.operations import reconcile
from flows.sources import ontologies, places
from flows.sources import readers as sources
from flows.sources.documents import StreamedParams, invalid

# What Prefect's API refuses before it stores it. Written as "not", so that the refusal shows the description; a pattern would be
# shown as it is.
NO_PASSWORD: dict[str, Any] = {
    "not": {
        "type": "string",
        "description": "an address with a password, which Prefect shows; put it into a variable of the worker: env:NAME",
        "pattern": places.PASSWORD,
    }
}
NO_CONTROLS: dict[str, Any] = {
    "not": {"type": "string", "description": "a text with control characters", "pattern": r"[\x00-\x1f\x7f-\x9f]"}
}


def this_run() -> FlowRun:
    """Return the flow run that this is called in."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise RuntimeError("called outside of a flow run; call flows.run_batch instead")
    return context.flow_run


def settle_batch(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """End the batch of a flow run that crashed or was cancelled, sooner than ``reconcile`` would.

    A batch that another run serves, or nobody in Prefect, is that one's to end.
    """
    batch_id = batch_id_of(flow_run)
    store = Store.from_settings()
    try:
        if (batch := store.batch(batch_id)).flow_run_id == str(flow_run.id) and not batch.ended:
            status = reconcile.settle(store, batch_id, state)
            if status in TERMINAL:
                publishing.emit_about(store, batch_id, status.value)
    except BatchNotFoundError:
        # The run ended before it claimed a batch: no other event says that a night was lost.
        reconcile.tell_if_lost(store, flow_run.model_copy(update={"state": state}))


def tell_if_lost(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Tell Prefect of a run that failed before its batch was stored, for want of its source for example."""
    reconcile.tell_if_lost(Store.from_settings(), flow_run.model_copy(update={"state": state}))


def run_name() -> str:
    """Return ``<batch> (<mode>)``, with the mode as it will be chosen."""
    run = this_run()
    batch_id = batch_id_of(run)
    try:
        return f"{batch_id} ({flows.current_mode(run.parameters.get('mode') or None, batch_id).mode})"
    except KnowledgeBatchError:
        # The flow itself fails with the reason.
        return batch_id


@flow(
    name="run-batch",
    retries=0,
    flow_run_name=run_name,
    persist_result=False,
    on_failure=[tell_if_lost],
    on_crashed=[settle_batch],
    on_cancellation=[settle_batch],
)
def run_batch(
    source: Annotated[str, Field(min_length=1, json_schema_extra=NO_PASSWORD)] = sources.SAMPLE,
    # An empty text rather than None, so that the form shows a field instead of a choice of types.
    ontology: Annotated[str, Field(json_schema_extra=NO_PASSWORD)] = "",
    mode: Literal["", "legacy", "engine", "shadow"] = "",
    failure_policy: FailurePolicy = FailurePolicy.CONTINUE,
    concurrency: Annotated[int, Field(ge=1, le=20)] = 3,
    max_retries: Annotated[int, Field(ge=0, le=1000)] = 2,
    enable_entity_resolution: bool = True,
    only_new: bool = False,
    query: str = "",
    id_column: str = sources.DEFAULT_COLUMNS.document_id,
    text_column: str = sources.DEFAULT_COLUMNS.text,
    delimiter: str = "",
    extractor: Literal["", "rules", "llm"] = "",
    batch_id: Annotated[str, Field(max_length=200, json_schema_extra=NO_CONTROLS)] = "",
) -> State[Any]:
    """Extract a knowledge graph from a batch of documents.

    Entered again, after a suspension say, it goes on with its batch and does only what is missing, without its source.

    Args:
        source: Where the documents are: a folder, a file (a table or a document) or a pattern, by a path or URL that the
            worker can read; sample; documents as JSON lines; or env:NAME, where that variable of the worker's holds an
            address with a secret, such as a database's.
        ontology: The ontology's file, as a path, URL or env:NAME. Empty: the one that lies with the source.
        mode: Who does the work. Empty: the switch decides (KNOWLEDGE_WORKFLOW_MODE, then knowledge-batch mode set).
        failure_policy: What a document that failed does to the rest of the batch.
        concurrency: Documents in work at the same time, 1 to 20.
        max_retries: Further rounds for failed documents, 0 to 1,000; heeded under retry-failed only.
        enable_entity_resolution: Whether entities that mean the same are merged across documents.
        only_new: Whether documents whose text this ontology has extracted before are left out.
        query: The SQL whose rows are the documents, where the source is a database.
        id_column: What documents' ids are called in the source.
        text_column: What documents' texts are called in the source.
        delimiter: What separates the fields of a .csv, or: tab. Empty: it is recognised.
        extractor: What reads the documents: rules, or the model that the worker's variables name (llm). Empty:
            KNOWLEDGE_EXTRACTOR decides.
        batch_id: The batch's id. Empty: one is made of the schedule's time, or of this run where none scheduled it.
    """
    refuse_password("source", source)
    refuse_password("ontology", ontology)
    if source == sources.STDIN:
        raise invalid("source", source, "is stdin, which a run of Prefect's doesn't have; name a file")
    run, store = this_run(), Store.from_settings()
    run_id = batch_id_of(run)
    if has_begun(store, run):
        get_run_logger().info("batch %s has begun before: its stored documents are used, and its source isn't read again", run_id)
        with publishing.publish_progress(store, run_id), settings_of_this_call(extractor=extractor or None):
            go_on(run_id, mode or None)
        return final_state(store, run_id)
    found = sources.load(source, ontology, sources.Columns(id_column, text_column, delimiter), query)
    with settings_of_this_call(extractor=extractor or None):
        notes = [ontologies.check(found, Settings.load().extractor), *found.reading.notes()]
    for note in notes:
        get_run_logger().info("batch %s: %s", run_id, note)
    config = BatchConfig(
        concurrency=concurrency,
        failure_policy=failure_policy,
        max_retries=max_retries,
        enable_entity_resolution=enable_entity_resolution,
    )
    request = found.request(run_id, config.model_dump(mode="json"))
    if only_new:
        request = request.only_new(store)
        left_out = len(found) - len(request.documents)
        get_run_logger().info("batch %s: %d of %d documents were extracted before", run_id, left_out, len(found))
    with publishing.publish_progress(store, run_id, notes), settings_of_this_call(extractor=extractor or None):
        run_or_resume(request, mode or None)
    return final_state(store, run_id)


def refuse_password(field: str, address: str) -> None:
    """Raise InvalidInputError for an address with a password, which Prefect's page would show.

    Prefect's API has refused it before, by the form; a flow that is called goes past that.
    """
    if places.has_password(address):
        raise invalid(field, "…", "contains a password, which Prefect shows; put it into a variable of the worker: env:NAME")


def has_begun(store: Store, run: FlowRun) -> bool:
    """Return whether this flow run, or an earlier one of the same scheduled time, has begun its batch.

    Then the stored batch counts: its source may have gone or changed since. An id that was asked for may be anybody's, so
    there it has to be this very run that served it last.
    """
    try:
        served_by = store.batch(batch_id_of(run)).flow_run_id
    except BatchNotFoundError:
        return False
    return served_by == str(run.id) or not run.parameters.get("batch_id")


def go_on(batch_id: str, mode: str | None) -> None:
    """Do what is missing of a stored batch; nothing if it is completed or cancelled."""
    try:
        flows.resume_request(batch_id, mode)
    except InvalidStateTransitionError as error:
        if error.current_state not in ("Completed", "Cancelled"):
            raise


def run_or_resume(request: StreamedParams, mode: str | None) -> None:
    """Run the batch, or go on with it if it failed or was interrupted before."""
    try:
        flows.run_request(request, mode)
    except OtherInputError:
        raise
    except InvalidStateTransitionError as error:
        if error.current_state != "Failed" or request.batch_id is None:
            raise
        flows.resume_request(request.batch_id, mode)
