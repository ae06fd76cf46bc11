"""The rows of fan-outs: begun, filled with batches, read, submitted, cancelled.

They are the truth: the documents of all batches are stored before a batch is claimed, so whoever runs one needs no source.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import RowMapping, func, select, update

from compat.contracts import BatchConfig, utc_now
from compat.errors import BatchNotFoundError, InvalidInputError, InvalidStateTransitionError, Problem
from compat.fan_outs.records import FanOut, Part, Standing
from compat.ids import derived_id
from compat.keepable import keepable_text
from compat.store import Store, record
from compat.store.database import Database
from compat.store.failures import infrastructure
from compat.store.intake import Documents, StoredDocuments, StoredRequest, insert_documents, params_hash
from compat.store.schema import BatchRun, FanOutBatch, FanOutRow
from compat.store.sql import insert_if_new


def batch_id_of(fan_out_id: str, number: int) -> str:
    """Return the id of a batch of a fan-out: the same whenever it is asked for."""
    return derived_id("knowledge_batch_execution", fan_out_id, str(number))


def begin(database: Database, asked: FanOut) -> FanOut:
    """Store what is asked for, and return it as it is stored. Raises InvalidInputError where the id has other options."""
    row = {
        "id": asked.id,
        "organization_id": asked.organization_id,
        "ontology_id": asked.ontology_id,
        "documents_per_batch": asked.documents_per_batch,
        "config": asked.config.model_dump(mode="json"),
        "mode": asked.mode,
        "extractor": asked.extractor,
    }
    with infrastructure(asked.id, "batch_create_execution"), database.write() as connection:
        if connection.execute(select(BatchRun.batch_id).where(BatchRun.batch_id == asked.id)).first():
            raise InvalidInputError([Problem("--fan-out-id", asked.id, "is a batch's id; choose another")])
        insert_if_new(connection, FanOutRow, row)
        stored = connection.execute(select(FanOutRow.__table__).where(FanOutRow.id == asked.id)).mappings().one()
    different = [name for name, value in row.items() if stored[name] != value]
    if different:
        # An ontology's id is made of its content.
        what = ", ".join({"ontology_id": "ontology"}.get(name, name) for name in different)
        raise InvalidInputError([Problem("--fan-out-id", asked.id, f"was used with another {what}; choose another id")])
    return _fan_out(stored)


def add(database: Database, fan_out: FanOut, number: int, documents: Documents) -> None:
    """Store a batch with its documents, unless it is stored. Raises InvalidInputError where it has other documents."""
    batch_id = batch_id_of(fan_out.id, number)
    request = _Request(batch_id, fan_out.organization_id, fan_out.ontology_id, documents, fan_out.config)
    digest = params_hash(request)
    row = {"fan_out_id": fan_out.id, "number": number, "batch_id": batch_id, "documents": len(documents)}
    with infrastructure(fan_out.id, "batch_create_execution"), database.write() as connection:
        if insert_if_new(connection, FanOutBatch, {**row, "params_hash": digest, "submissions": 0}):
            insert_documents(connection, request, batch_id)
            return
        found = connection.execute(select(FanOutBatch.params_hash).where(FanOutBatch.batch_id == batch_id)).scalar_one()
    if found != digest:
        advice = f"was used with other documents: those of its batch {number} have changed; choose another id"
        raise InvalidInputError([Problem("--fan-out-id", fan_out.id, advice)])


def complete(database: Database, fan_out: FanOut, batch_count: int) -> None:
    """Note that all batches are stored. Raises InvalidInputError where there are more of them than the source has now."""
    with infrastructure(fan_out.id, "batch_create_execution"), database.write() as connection:
        stored = connection.execute(select(func.count()).where(FanOutBatch.fan_out_id == fan_out.id)).scalar_one()
        if stored != batch_count:
            advice = f"was used with more documents: it has {stored} batches, the source makes {batch_count}; choose another id"
            raise InvalidInputError([Problem("--fan-out-id", fan_out.id, advice)])
        connection.execute(update(FanOutRow).where(FanOutRow.id == fan_out.id).values(batch_count=batch_count))


def find(database: Database, fan_out_id: str) -> FanOut | None:
    """Return a fan-out, or None if there is none with this id."""
    if keepable_text(fan_out_id) != fan_out_id:
        return None
    with infrastructure(fan_out_id, "batch_get_status"), database.read() as connection:
        row = connection.execute(select(FanOutRow.__table__).where(FanOutRow.id == fan_out_id)).mappings().first()
    return None if row is None else _fan_out(row)


def of_batch(database: Database, batch_id: str) -> tuple[FanOut, StoredRequest]:
    """Return the fan-out that a batch belongs to, and the batch as a request. Raises BatchNotFoundError."""
    query = select(FanOutBatch.fan_out_id, FanOutBatch.documents).where(FanOutBatch.batch_id == batch_id)
    with infrastructure(batch_id, "batch_get_status"), database.read() as connection:
        row = connection.execute(query).first()
    fan_out = None if row is None else find(database, row.fan_out_id)
    if row is None or fan_out is None:
        raise BatchNotFoundError(batch_id)
    documents = StoredDocuments(database, batch_id, row.documents)
    return fan_out, StoredRequest(batch_id, fan_out.organization_id, fan_out.ontology_id, documents, fan_out.config)


def standing(store: Store, fan_out: FanOut) -> Standing:
    """Return where a fan-out stands."""
    of_it = FanOutBatch.fan_out_id == fan_out.id
    with infrastructure(fan_out.id, "batch_get_status"), store.database.read() as connection:
        claimed = record.among(connection, store.lease_seconds, select(FanOutBatch.batch_id).where(of_it))
        rows = connection.execute(select(FanOutBatch.__table__).where(of_it).order_by(FanOutBatch.number)).all()
    batches = {batch.batch_id: batch for batch in claimed}
    return Standing(
        fan_out,
        [
            Part(row.number, row.batch_id, row.documents, row.submissions, row.flow_run_id, batches.get(row.batch_id))
            for row in rows
        ],
    )


def expand(database: Database, ids: Sequence[str]) -> list[str]:
    """Return the ids with each fan-out's replaced by those of its claimed batches, in the order of its source.

    Raises BatchNotFoundError for a fan-out of which no batch is claimed.
    """
    expanded: list[str] = []
    for each in ids:
        if find(database, each) is None:
            expanded.append(each)
            continue
        query = select(FanOutBatch.batch_id).join(BatchRun, BatchRun.batch_id == FanOutBatch.batch_id)
        with infrastructure(each, "batch_get_status"), database.read() as connection:
            found = connection.execute(query.where(FanOutBatch.fan_out_id == each).order_by(FanOutBatch.number)).scalars().all()
        if not found:
            raise BatchNotFoundError(each)
        expanded += found
    return expanded


def note_submission(database: Database, part: Part, flow_run_id: str) -> None:
    """Store that Prefect has a flow run for a batch, unless somebody else has stored it since the part was read."""
    as_read = (FanOutBatch.batch_id == part.batch_id) & (FanOutBatch.submissions == part.submissions)
    with infrastructure(part.batch_id, "batch_run_dispatch"), database.write() as connection:
        submitted = {"submissions": part.submissions + 1, "flow_run_id": flow_run_id}
        connection.execute(update(FanOutBatch).where(as_read).values(submitted))


def cancel(store: Store, fan_out: FanOut) -> Standing:
    """Cancel a fan-out: no further batch of it starts; running ones start no further document. Return where it stands then."""
    with infrastructure(fan_out.id, "batch_run_dispatch"), store.database.write() as connection:
        wanted = (FanOutRow.id == fan_out.id) & FanOutRow.cancelled_at.is_(None)
        connection.execute(update(FanOutRow).where(wanted).values(cancelled_at=utc_now()))
    for part in standing(store, fan_out).parts:
        if part.batch is not None and not part.batch.ended:
            # One that has ended in between stays as it ended.
            with suppress(InvalidStateTransitionError):
                store.cancel(part.batch_id)
    found = find(store.database, fan_out.id)
    return standing(store, found or fan_out)


@dataclass(frozen=True)
class _Request:
    """A batch of a fan-out as a request, with its documents still at their source."""

    batch_id: str
    organization_id: str
    ontology_id: str
    documents: Documents
    config: BatchConfig


def _fan_out(row: RowMapping) -> FanOut:
    return FanOut(
        row["id"],
        row["organization_id"],
        row["ontology_id"],
        row["documents_per_batch"],
        BatchConfig.model_validate(row["config"]),
        row["mode"],
        row["extractor"],
        row["batch_count"],
        row["cancelled_at"] is not None,
    )
