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
from compat.errors import BatchNotFoundError, InvalidStateTransitionError
from compat.ids import derived_id
from compat.store import Store
from flows import sources, upkeep


def batch_id_of(flow_run_id: UUID | str | None, batch_id: str | None) -> str:
    """The batch of a flow run: the one that was asked for, else one that stays the same when the flow run is entered again."""
    return batch_id or derived_id("knowledge_batch_execution", str(flow_run_id))


def settle_batch(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """The hook behind a flow run that crashed or was cancelled: the fast path of what ``reconcile`` finds anyway."""
    batch_id = batch_id_of(flow_run.id, flow_run.parameters.get("batch_id"))
    try:
        upkeep.settle(Store.from_settings(), batch_id, state)
    except BatchNotFoundError:
        # It ended before it had claimed anything.
        return


@flow(name="run-batch", retries=0, persist_result=False, on_crashed=[settle_batch], on_cancellation=[settle_batch])
def run_batch(
    source: Annotated[str, Field(description="A folder or file that the worker can read, or: sample.")] = sources.SAMPLE,
    ontology: Annotated[str | None, Field(description="The ontology's Turtle file, where the source doesn't settle it.")] = None,
    mode: Annotated[Literal["legacy", "engine"] | None, Field(description="Empty: the switch decides.")] = None,
    failure_policy: Annotated[
        FailurePolicy, Field(description="What a failed document does to the rest.")
    ] = FailurePolicy.CONTINUE,
    concurrency: Annotated[int, Field(ge=1, le=20, description="Documents in work at the same time.")] = 3,
    max_retries: Annotated[int, Field(ge=0, description="Rounds for failed documents under retry-failed.")] = 2,
    enable_entity_resolution: Annotated[bool, Field(description="Merge entities across documents.")] = True,
    batch_id: Annotated[str | None, Field(description="Empty: one is made of this run.")] = None,
) -> State[Any]:
    """Extract a knowledge graph from a batch of documents.

    Entered again, after a suspension say, it goes on with its batch and does only what is missing.
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
    run_or_resume(params, mode)
    return upkeep.final_state(Store.from_settings(), params["batchId"])


def run_or_resume(params: dict[str, Any], mode: str | None) -> BatchResult:
    """Runs the batch, or goes on with it where it has failed or was interrupted before."""
    try:
        return flows.run_batch(params, mode)
    except InvalidStateTransitionError as error:
        if error.current_state != "Failed":
            raise
        return flows.resume_batch(params["batchId"], mode)
