"""The flow that Prefect starts, from its UI's form or a schedule. It goes through the same switch as every caller."""

from collections.abc import Mapping
from typing import Any

from prefect import Flow, flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.logging import get_run_logger
from prefect.states import Cancelled, Failed

import flows
from compat import fan_outs
from compat.contracts import BatchConfig, FailurePolicy
from compat.errors import BatchNotFoundError, InvalidStateTransitionError, KnowledgeBatchError, OtherInputError
from compat.keepable import one_line
from compat.settings import Settings, settings_of_this_call
from compat.status import TERMINAL
from compat.store import Store
from compat.store.intake import Request
from compat.store.overview import rerun_of_failed
from flows import form
from flows.engine import publishing
from flows.fan_out import pages
from flows.host.flow_run import batch_id_of, cancelled, final_state, state_of
from flows.operations import reconcile
from flows.sources import ontologies, places
from flows.sources import readers as sources
from flows.sources.allowed import Allowed
from flows.sources.documents import OWN_ORGANIZATION, Documents, invalid

# Before a run's parameters are checked, which the flow has no part in.
form.log_in_words()


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
    """Return the name that a person gave the run, else ``<batch> (<mode>)``, with the mode as it will be chosen."""
    run = this_run()
    batch_id = batch_id_of(run)
    if not (form.is_proposed(run.name) or run.name.startswith(f"{batch_id} (")):
        return run.name
    try:
        mode = flows.current_mode(_chosen(run.parameters.get("mode")), batch_id, _organization(run.parameters)).mode
    except KnowledgeBatchError:
        # The flow itself fails with the reason.
        return batch_id
    return f"{batch_id} ({mode})"


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
    source: form.Source = sources.SAMPLE,
    ontology: form.Ontology = "",
    mode: form.Mode = "default",
    batch_id: form.BatchId = "",
    organization: form.Organization = "",
    failed_of: form.FailedOf = "",
    fail_on_error: form.FailOnError = False,
    failure_policy: form.Policy = FailurePolicy.CONTINUE,
    concurrency: form.Concurrency = 3,
    max_retries: form.MaxRetries = 2,
    enable_entity_resolution: form.Resolution = True,
    only_new: form.OnlyNew = False,
    extractor: form.Extractor = "default",
    query: form.Query = "",
    id_column: form.IdColumn = sources.DEFAULT_COLUMNS.document_id,
    text_column: form.TextColumn = sources.DEFAULT_COLUMNS.text,
    delimiter: form.Delimiter = "",
) -> State[Any]:
    """Extract a knowledge graph from a batch of documents.

    Entered again, after a suspension say, it goes on with its batch and does only what is missing, without its source.

    Args:
        source: Where the documents are: a folder, a file (a table or a document) or a pattern, by a path or URL that the
            worker may read (KNOWLEDGE_SOURCES_ALLOW); sample; documents as JSON lines; or env:NAME, where that variable of
            the worker's holds an address with a secret, such as a database's.
        ontology: The ontology's file, as a path, URL or env:NAME. Empty: the one that lies with the documents.
        mode: Which runtime does the work. default: the switch decides (KNOWLEDGE_WORKFLOW_MODE, then knowledge-batch mode set).
        batch_id: The batch's id. Empty: one is made of the schedule's time, or of this run where none scheduled it.
        organization: Whose batch it is. Empty: this installation's own.
        failed_of: The id of a batch whose failed documents are run again, as a new batch. Documents and Ontology don't count
            then.
        fail_on_error: Whether the run fails if any document failed; the batch itself is completed all the same.
        failure_policy: What a document that failed does to the rest of the batch.
        concurrency: Documents in work at the same time, 1 to 20.
        max_retries: Further rounds for failed documents, 0 to 1,000; heeded under retry-failed only.
        enable_entity_resolution: Whether entities that mean the same are merged across documents.
        only_new: Whether documents whose text this ontology has extracted before are left out.
        extractor: What reads the documents: rules, a trained model (linear), or a language model (llm). default: what
            KNOWLEDGE_EXTRACTOR says.
        query: The SQL whose rows are the documents, where they are in a database.
        id_column: What documents' ids are called in a table.
        text_column: What documents' texts are called in a table.
        delimiter: What separates the fields of a .csv, or: tab. Empty: it is recognised.
    """
    run = this_run()
    run_id = batch_id_of(run)
    config = BatchConfig(
        concurrency=concurrency,
        failure_policy=failure_policy,
        max_retries=max_retries,
        enable_entity_resolution=enable_entity_resolution,
    )
    log = get_run_logger()
    try:
        store = Store.from_settings()
        with settings_of_this_call(extractor=_chosen(extractor)):
            if has_begun(store, run):
                log.info("batch %s has begun before: its stored documents are used, and its source isn't read again", run_id)
                with publishing.publish_progress(store, run_id):
                    go_on(run_id, _chosen(mode))
                return final_state(store, run_id, fail_on_error=fail_on_error)
            request: Request
            if failed_of:
                request, notes = rerun_of_failed(store, failed_of, run_id, config), [f"the failed documents of {failed_of}"]
            else:
                columns = sources.Columns(id_column, text_column, delimiter)
                found = read(run, source, ontology, columns, query)
                notes = [ontologies.check(found, Settings.load().extractor), *found.reading.notes()]
                request = found.request(run_id, config.model_dump(mode="json"), organization or None)
                if only_new:
                    request = request.only_new(store)
                    notes.append(f"{len(found) - len(request.documents)} of {len(found)} documents were extracted before")
            for note in notes:
                log.info("batch %s: %s", run_id, one_line(note))
            with publishing.publish_progress(store, run_id, notes):
                run_or_resume(request, _chosen(mode))
            return final_state(store, run_id, fail_on_error=fail_on_error)
    except SystemExit:
        # A worker ends the process of a run that was cancelled, which the batch's end says as well.
        ended = state_of(str(run.id))
        if ended is None or not (ended.is_cancelling() or ended.is_cancelled()):
            raise
        return cancelled(store, run_id)
    except KnowledgeBatchError as error:
        # Returned rather than raised: Prefect's message would begin with the exception's class.
        return Failed(message=form.in_words(error), data=error)


def read(run: FlowRun, source: str, ontology: str, columns: sources.Columns, query: str) -> Documents:
    """Return the documents of a source. Raises InvalidInputError for one that this run may not read, or that can't be read."""
    refuse_password("SOURCE", source)
    refuse_password("ontology", ontology)
    if source == sources.STDIN:
        raise invalid("SOURCE", source, "is stdin, which a run of Prefect's doesn't have; name a file")
    return sources.load(source, ontology, columns, query, Allowed.of(Settings.load(), named_by_deployment(run)))


@flow(
    name="fan-out-batch",
    retries=0,
    persist_result=False,
    on_crashed=[settle_batch],
    on_cancellation=[settle_batch],
)
def fan_out_batch(batch_id: form.BatchId) -> State[Any]:
    """Run a batch of a fan-out, whose documents are stored; entered again, it does only what is missing.

    Args:
        batch_id: The batch. ``knowledge-batch fan-out`` makes it, and the run.
    """
    store = Store.from_settings()
    try:
        fan_out, request = fan_outs.of_batch(store.database, batch_id)
        if fan_out.is_cancelled:
            return Cancelled(message=f"The fan-out {fan_out.id} was cancelled")
        with publishing.publish_progress(store, batch_id), settings_of_this_call(extractor=fan_out.extractor or None):
            run_or_resume(request, fan_out.mode or None)
        pages.publish(store, fan_out)
        return final_state(store, batch_id)
    except KnowledgeBatchError as error:
        return Failed(message=form.in_words(error), data=error)


def refuse_password(field: str, address: str) -> None:
    """Raise InvalidInputError for an address with a password, which Prefect's page would show.

    Prefect's API has refused it before, by the form; a flow that is called goes past that.
    """
    if places.has_password(address):
        raise invalid(field, "…", "contains a password, which Prefect shows; put it into a variable of the worker: env:NAME")


def named_by_deployment(run: FlowRun) -> set[str]:
    """Return the addresses that whoever set up the deployment named: its own parameters, and its schedules'."""
    if run.deployment_id is None:
        return set()
    with get_client(sync_client=True) as client:
        given = [client.read_deployment(run.deployment_id).parameters]
    if run.auto_scheduled:
        given.append(run.parameters)
    return {str(each.get(field) or "") for each in given for field in ("source", "ontology")}


def _chosen(value: str | None) -> str | None:
    return None if value in (None, "", form.DEFAULT) else value


def _organization(parameters: Mapping[str, Any]) -> str:
    return parameters.get("organization") or OWN_ORGANIZATION


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


def run_or_resume(request: Request, mode: str | None) -> None:
    """Run the batch, or go on with it if it failed or was interrupted before."""
    try:
        flows.run_request(request, mode)
    except OtherInputError:
        raise
    except InvalidStateTransitionError as error:
        if error.current_state != "Failed" or request.batch_id is None:
            raise
        flows.resume_request(request.batch_id, mode)
