"""A batch's entities merged across its documents, as rows between two events (CONTRACT 5 and 9.8)."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

from sqlalchemy import Connection, update

from compat.contracts import Resolution, ResolutionCompleted, ResolutionStarted, Resolver
from compat.errors import BatchInfrastructureError
from compat.fault_points import fault_point
from compat.ids import mention_id, unordered_mention_id
from compat.keepable import text_of
from compat.policy import RESOLUTION_NAME
from compat.store import Claim, Store, events, graphs
from compat.store.failures import infrastructure
from compat.store.schema import BatchRun, WorkflowExecution
from compat.store.sql import blocks

log = logging.getLogger("knowledge_batch")

# Resolved entities that are written at a time, so that other writers get their turn.
RESOLVED = 2_000


def resolve(store: Store, claim: Claim, resolver: Resolver) -> int:
    """Merge the entities of the batch's documents. Returns how many were merged into another.

    The canonical entities are stored, and every entity of a document and its mentions with them. A resolver that fails is
    logged, noted at the batch and counts as 0 merged; it never fails the batch.
    """
    key = f"resolution:{claim.generation}"
    with _writing(store, claim) as connection:
        named = update(WorkflowExecution).where(WorkflowExecution.id == claim.execution_id)
        connection.execute(named.values(last_activity_name=RESOLUTION_NAME))
        events.emit(connection, f"{key}:started", ResolutionStarted(batch_id=claim.batch_id))
        graphs.forget(connection, claim.batch_id)
    fault_point("resolution-started")
    merged, error = 0, None
    try:
        entities = ((each.document_id, each) for each in graphs.document_entities(store.database, claim.batch_id))
        with closing(resolver(entities, claim.organization_id, graphs.ontologies(store.database, claim.batch_id))) as resolution:
            merged = resolution.merge_count
            for block in blocks(graphs.document_entities(store.database, claim.batch_id), RESOLVED):
                with _writing(store, claim) as connection:
                    _keep_members(connection, claim, resolution, block)
            fault_point("merges-committed")
            with _writing(store, claim) as connection:
                graphs.keep(connection, claim.batch_id, resolution.entities)
                _complete(connection, claim, merged, None)
    except BatchInfrastructureError:
        raise
    except Exception as failure:
        log.exception("batch %s: entities could not be resolved; none are merged", claim.batch_id)
        merged, error = 0, f"{type(failure).__name__}: {text_of(failure)}".partition("\n")[0]
        with _writing(store, claim) as connection:
            graphs.forget(connection, claim.batch_id)
            _complete(connection, claim, merged, error)
    fault_point("resolution-committed")
    return merged


@contextmanager
def _writing(store: Store, claim: Claim) -> Iterator[Connection]:
    with infrastructure(claim.batch_id, "batch_run_dispatch"), store.database.write() as connection:
        store.held_by(connection, claim)
        yield connection


def _complete(connection: Connection, claim: Claim, merged: int, error: str | None) -> None:
    event = ResolutionCompleted(batch_id=claim.batch_id, merge_count=merged)
    events.emit(connection, f"resolution:{claim.generation}:completed", event)
    connection.execute(update(BatchRun).where(BatchRun.batch_id == claim.batch_id).values(resolution_error=error))


def _keep_members(
    connection: Connection, claim: Claim, resolution: Resolution, entities: Sequence[graphs.DocumentEntity]
) -> None:
    resolved = [(each, resolution.canonical_id(each)) for each in entities]
    members = [(each.document_id, each.id, canonical_id) for each, canonical_id in resolved]
    graphs.keep_members(connection, claim.batch_id, members)
    mentions = [
        {"key": mention_id(*mention), "older": unordered_mention_id(*mention), "entity": canonical_id}
        for each, canonical_id in resolved
        for mention in ((each.extraction_id, each.id, number) for number in range(each.mentions))
    ]
    graphs.resolve_mentions(connection, mentions)
