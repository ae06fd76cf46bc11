"""The demotion's checks as rows: each batch that the engine had a hand in is checked once; triggers read the last ones."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, func, select

from compat.contracts import utc_now
from compat.cutover import record
from compat.cutover.attempts import breaches
from compat.cutover.triggers import TRIGGERS, Firing, Served, findings_of, findings_of_shadow, fired
from compat.ids import document_execution_id
from compat.modes import Mode
from compat.modes.ramp import Ramp
from compat.status import TERMINAL, RowStatus
from compat.store import Store
from compat.store.database import Database
from compat.store.schema import BatchCheck, BatchEventRow, BatchExecution, BatchRun, DocumentOutcome, WorkflowExecution
from compat.store.sql import upsert

if TYPE_CHECKING:
    # Comparing loads pandas, which serving a batch never does.
    from compat.parity.report import ParityReport


# Documents of a batch that are looked at: a check must not take long at the end of a large one.
LOOKED_AT = 500
# Batches that one sweep checks.
SWEPT = 50


def check_engine_batch(store: Store, batch_id: str) -> dict[str, str]:
    """Check a batch that the engine had a hand in and that has ended; keep and return what is wrong with it, by trigger."""
    served = read(store, batch_id)
    found = findings_of(served)
    _keep(store.database, batch_id, "engine", store.batch(batch_id).generation, found)
    return found


def check_shadow(main: Database, report: "ParityReport") -> dict[str, str]:
    """Keep and return what a report of a shadow found wrong with the engine, by trigger."""
    found = findings_of_shadow(report)
    if report.verdict != "inconclusive":
        _keep(main, report.batch_id, "shadow", report.generation, found)
    return found


def last(database: Database, since: datetime | None = None) -> list[tuple[str, Mapping[str, str]]]:
    """Return what was found of the last batches, as many as any trigger looks at, the newest first."""
    query = select(BatchCheck.batch_id, BatchCheck.findings).order_by(BatchCheck.checked_at.desc(), BatchCheck.batch_id)
    if since is not None:
        query = query.where(BatchCheck.checked_at >= since)
    with database.read() as connection:
        return list(connection.execute(query.limit(max(trigger.of for trigger in TRIGGERS))).tuples())


def demote_if_fired(store: Store) -> Firing | None:
    """Demote the engine if a trigger fires on the batches checked since the mode last changed. Return what fired, if it did.

    Of many processes that find the same, one demotes. Batches from before a change are not held against what serves since.
    """
    changed = record.changes(store.database, 1, "set", "promote", "restore", "demote")
    firing = fired(last(store.database, changed[0].created_at if changed else None))
    if firing is None:
        return None
    trigger = firing.trigger
    details = {"batches": dict(firing.batches), "hits": trigger.hits, "of": trigger.of, "handOver": trigger.hand_over}
    return firing if record.demote(store.database, firing.reason, trigger.name, details, trigger.hand_over) else None


def engine_serves(store: Store, environment: str | None) -> bool:
    """Return whether a switch sends batches to the engine; until then a divergence shuts the gate, and that is all."""
    switches = store.switches()
    return Mode.ENGINE in (environment, switches.get(record.MODE)) or Ramp.from_switches(switches).serves


def unchecked(store: Store) -> list[str]:
    """Return ended batches that the engine had a hand in and that nobody has checked since: their process died before."""
    query = (
        select(BatchRun.batch_id)
        .join(BatchExecution, BatchExecution.id == BatchRun.batch_id)
        .outerjoin(BatchCheck, (BatchCheck.batch_id == BatchRun.batch_id) & (BatchCheck.runtime == "engine"))
        .where((BatchRun.mode == Mode.ENGINE) | (BatchRun.rolled_back_from == Mode.ENGINE))
        .where(BatchExecution.status.in_(TERMINAL))
        .where(BatchCheck.batch_id.is_(None) | (BatchCheck.generation < BatchRun.generation))
        .order_by(BatchRun.created_at.desc())
    )
    with store.database.read() as connection:
        return list(connection.execute(query.limit(SWEPT)).scalars())


def read(store: Store, batch_id: str) -> Served:
    """Return a batch as its rows tell it. Raises BatchNotFoundError."""
    batch = store.batch(batch_id)
    sample = (
        select(DocumentOutcome.document_id, DocumentOutcome.outcome)
        .where(DocumentOutcome.batch_id == batch_id)
        .order_by(DocumentOutcome.position)
    )
    counts = select(DocumentOutcome.outcome, func.count()).where(DocumentOutcome.batch_id == batch_id)
    old = (
        select(WorkflowExecution.id, WorkflowExecution.status)
        .where(WorkflowExecution.workflow_type == "batch_extraction")
        .where(WorkflowExecution.input["batchId"].as_string() == batch_id)
        .order_by(WorkflowExecution.created_at.desc())
    )
    with store.database.read() as connection:
        looked_at = connection.execute(sample.limit(LOOKED_AT)).tuples().all()
        outcomes: dict[str | None, int] = dict(connection.execute(counts.group_by(DocumentOutcome.outcome)).tuples().all())
        old_rows = tuple((row.id, row.status) for row in connection.execute(old))
        running = connection.execute(
            select(func.count())
            .select_from(WorkflowExecution)
            .where(WorkflowExecution.id.in_(document_execution_id(batch_id, document_id) for document_id, _ in looked_at))
            .where(WorkflowExecution.status == RowStatus.RUNNING)
        ).scalar_one()
        events = _events(connection, batch_id, [document_id for document_id, _ in looked_at])
    return Served(
        batch_id=batch_id,
        execution_id=batch.execution_id,
        status=batch.status,
        old_rows=old_rows,
        unfinished_rows=running,
        error=batch.error,
        rollback_reason=batch.row_input.get("rollbackReason") if batch.rolled_back_from == Mode.ENGINE else None,
        succeeded=outcomes.get("succeeded", 0),
        failed=outcomes.get("failed", 0),
        outcomes=frozenset(document_id for document_id, outcome in looked_at if outcome is not None),
        counted=(batch.completed_documents, batch.failed_documents),
        attempts_breach=_attempts_breach(store, batch_id),
        events=events,
    )


def _events(
    connection: Connection, batch_id: str, document_ids: Sequence[str]
) -> tuple[tuple[str, str | None, Mapping[str, Any]], ...]:
    looked_at = BatchEventRow.document_id.is_(None) | BatchEventRow.document_id.in_(document_ids)
    query = (
        select(BatchEventRow.document_id, BatchEventRow.payload)
        .where(BatchEventRow.batch_id == batch_id, BatchEventRow.superseded.is_(False), looked_at)
        .order_by(BatchEventRow.sequence)
    )
    return tuple((row.payload.get("_tag", ""), row.document_id, row.payload) for row in connection.execute(query))


def _attempts_breach(store: Store, batch_id: str) -> str | None:
    attempts = store.attempts(batch_id)
    for document, _ in zip(attempts, range(LOOKED_AT), strict=False):
        for breach in breaches(document):
            return f"document {document.document_id}: {breach}"
    return None


def _keep(database: Database, batch_id: str, runtime: str, generation: int, found: Mapping[str, str]) -> None:
    row = {"batch_id": batch_id, "runtime": runtime, "generation": generation, "findings": dict(found), "checked_at": utc_now()}
    with database.write() as connection:
        upsert(connection, BatchCheck, row)
