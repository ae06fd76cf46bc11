"""The flow that Prefect starts, from its UI's form or a schedule. It goes through the same switch as every caller."""

from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

from prefect import Flow, flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.runtime import flow_run
from pydantic import Field

import flows
from compat.contracts import BatchConfig, BatchResult, FailurePolicy
from compat.errors import BatchNotFoundError, InvalidStateTransitionError, KnowledgeBatchError
from compat.ids import derived_id
from compat.status import TERMINAL
from compat.store import Store
from flows import artifacts, sources, upkeep


def batch_id_of(flow_run_id: UUID | str | None, batch_id: str | None) -> str:
    """The batch of a flow run: the one that was asked for, else one that stays the same when the flow run is entered again."""
    return batch_id or derived_id("knowledge_batch_execution", str(flow_run_id))


def settle_batch(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """The hook behind a flow run that crashed or was cancelled: the fast path of what ``reconcile`` finds anyway."""
    batch_id = batch_id_of(flow_run.id, flow_run.parameters.get("batch_id"))
    store = Store.from_settings()
    try:
        if not store.has_ended(batch_id):
            status = upkeep.settle(store, batch_id, state)
            if status in TERMINAL:
                artifacts.tell_of(store, batch_id, status.value)
    except BatchNotFoundError:
        # It ended before it had claimed anything.
        return


def run_name() -> str:
    """``<batch> (<mode>)``, the mode by the same voices that will choose it."""
    given = flow_run.get_parameters()
    batch_id = batch_id_of(flow_run.get_id(), given.get("batch_id"))
    try:
        return f"{batch_id} ({flows.current_mode(given.get('mode') or None).mode})"
    except KnowledgeBatchError:
        # The flow itself says why, as a failure of its own.
        return batch_id


@flow(
    name="run-batch",
    retries=0,
    flow_run_name=run_name,
    persist_result=False,
    on_crashed=[settle_batch],
    on_cancellation=[settle_batch],
)
def run_batch(
    source: str = sources.SAMPLE,
    # An empty text rather than none: the form offers a field instead of a choice of types.
    ontology: str = "",
    mode: Literal["", "legacy", "engine", "shadow"] = "",
    failure_policy: FailurePolicy = FailurePolicy.CONTINUE,
    concurrency: Annotated[int, Field(ge=1, le=20)] = 3,
    max_retries: Annotated[int, Field(ge=0)] = 2,
    enable_entity_resolution: bool = True,
    batch_id: Annotated[str, Field(max_length=200)] = "",
) -> State[Any]:
    """Extract a knowledge graph from a batch of documents.

    Entered again, after a suspension say, it goes on with its batch and does only what is missing.

    Args:
        source: Where the documents are: a folder or file that the worker can read, or sample.
        ontology: The ontology's Turtle file. Empty: the one that lies with the source.
        mode: Who does the work. Empty: the switch decides (KNOWLEDGE_WORKFLOW_MODE, then knowledge-batch mode set).
        failure_policy: What a document that failed does to the rest of the batch.
        concurrency: Documents in work at the same time, 1 to 20.
        max_retries: Further rounds for failed documents, 0 or more; heeded under retry-failed only.
        enable_entity_resolution: Whether entities that mean the same are merged across documents.
        batch_id: The batch's id. Empty: one is made of this run.
    """
    found = sources.load(source, Path(ontology) if ontology else None)
    config = BatchConfig(
        concurrency=concurrency,
        failure_policy=failure_policy,
        max_retries=max_retries,
        enable_entity_resolution=enable_entity_resolution,
    )
    params: dict[str, Any] = {
        "batchId": batch_id_of(flow_run.get_id(), batch_id),
        "organizationId": derived_id("shared_organization", "local"),
        "ontologyId": found.ontology_id,
        "documents": found.documents(),
        "config": config.model_dump(mode="json"),
    }
    store = Store.from_settings()
    with artifacts.shown(store, params["batchId"]):
        run_or_resume(params, mode or None)
    return upkeep.final_state(store, params["batchId"])


def run_or_resume(params: dict[str, Any], mode: str | None) -> BatchResult:
    """Runs the batch, or goes on with it where it has failed or was interrupted before."""
    try:
        return flows.run_batch(params, mode)
    except InvalidStateTransitionError as error:
        if error.current_state != "Failed":
            raise
        return flows.resume_batch(params["batchId"], mode)
