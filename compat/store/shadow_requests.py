"""Which batches are to have a shadow, and what became of each request."""

from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from compat.contracts import utc_now
from compat.modes import Mode
from compat.status import TERMINAL
from compat.store.database import Database
from compat.store.record import Claim
from compat.store.schema import BatchExecution, ShadowSubmission
from compat.store.sql import upsert


@dataclass(frozen=True)
class ShadowRequest:
    """Whether a batch has its shadow: ``requested``, ``submitted`` or ``refused``, and the reason where it isn't at work."""

    batch_id: str
    generation: int
    status: str
    reason: str | None
    flow_run_id: str | None

    @property
    def summary(self) -> str:
        """In words."""
        if self.reason:
            return f"{self.status}: {self.reason}"
        return f"{self.status} as flow run {self.flow_run_id}" if self.flow_run_id else self.status


def add_for(connection: Connection, claim: Claim) -> None:
    """Keep that a batch in shadow mode is to have a shadow: with its claim, so that the submitter may be late, or another."""
    if claim.mode == Mode.SHADOW:
        row = {"batch_id": claim.batch_id, "generation": claim.generation, "status": "requested"}
        upsert(connection, ShadowSubmission, {**row, "reason": None, "flow_run_id": None, "updated_at": utc_now()})


def record(
    database: Database, batch_id: str, generation: int, status: str, reason: str | None = None, flow_run_id: str | None = None
) -> None:
    """Record how the submission went, unless the batch has been resumed since."""
    with database.write() as connection:
        connection.execute(
            update(ShadowSubmission)
            .where(ShadowSubmission.batch_id == batch_id, ShadowSubmission.generation == generation)
            .values(status=status, reason=reason, flow_run_id=flow_run_id, updated_at=utc_now())
        )


def find(database: Database, batch_id: str) -> ShadowRequest | None:
    """Return the batch's shadow request, or None if there was none."""
    with database.read() as connection:
        row = connection.execute(select(ShadowSubmission).where(ShadowSubmission.batch_id == batch_id)).first()
    return ShadowRequest(row.batch_id, row.generation, row.status, row.reason, row.flow_run_id) if row else None


def waiting(database: Database) -> list[ShadowRequest]:
    """Return the shadow requests of ended batches that nobody has submitted or tried to submit."""
    query = (
        select(ShadowSubmission)
        .join(BatchExecution, BatchExecution.id == ShadowSubmission.batch_id)
        .where(ShadowSubmission.status == "requested", BatchExecution.status.in_(TERMINAL))
    )
    with database.read() as connection:
        return [ShadowRequest(row.batch_id, row.generation, row.status, row.reason, None) for row in connection.execute(query)]
