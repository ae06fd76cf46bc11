"""Reports and baselines as stored in the shadow namespace. Nothing is overwritten."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, insert, select

from compat.contracts import utc_now
from compat.ids import new_id
from compat.parity import gate
from compat.parity.baseline import Baseline, Subject
from compat.parity.report import ParityReport
from compat.parity.versions import versions
from compat.policy import retry_owner
from compat.store.database import Database
from compat.store.schema import BatchExecution, ShadowSubmission, StoredBaseline, StoredReport
from compat.store.sql import IDS, blocks


def save(database: Database, report: ParityReport) -> None:
    """Store a report."""
    row = {
        "id": report.report_id,
        "batch_id": report.batch_id,
        "channel": report.channel,
        "verdict": report.verdict,
        "created_at": report.created_at,
        "report": report.to_dict(),
    }
    with database.write() as connection:
        connection.execute(insert(StoredReport).values(row))


def reports(database: Database, name: str | None = None, since: datetime | None = None) -> list[ParityReport]:
    """Return reports, the newest first: all of them, those of a batch, or the one with an id."""
    query = select(StoredReport.id, StoredReport.report).order_by(StoredReport.created_at.desc(), StoredReport.id)
    if name is not None:
        query = query.where((StoredReport.batch_id == name) | (StoredReport.id == name))
    if since is not None:
        query = query.where(StoredReport.created_at >= since)
    with database.read() as connection:
        # Reports of the first versions don't contain their id.
        return [ParityReport.from_dict({**row.report, "report_id": row.id}) for row in connection.execute(query)]


def judged(
    main: Database, shadows: Database, min_batches: int, max_age: timedelta, since: datetime | None = None
) -> gate.CutoverCheck:
    """Return the gate's verdict on the stored reports, or on those ``since`` a moment.

    Raises InvalidInputError for a number of batches that proves nothing.
    """
    now = utc_now()
    oldest = max(now - max_age, since or now - max_age)
    with shadows.read() as connection:
        older = connection.execute(select(func.count()).where(StoredReport.created_at < oldest)).scalar_one()
    found = reports(shadows, since=oldest)
    unreported = _unreported(main, shadows, oldest)
    return gate.check(found, now, versions(), min_batches, max_age, older, unreported, _served(main, oldest))


def _served(main: Database, since: datetime) -> gate.Served:
    """Return the policies and the owners of retries since then. A batch without retries has no owner."""
    query = select(BatchExecution.failure_policy, func.max(BatchExecution.max_retries))
    query = query.where(BatchExecution.created_at >= since).group_by(BatchExecution.failure_policy)
    with main.read() as connection:
        found = connection.execute(query).tuples().all()
    retried = {retry_owner(policy) for policy, most in found if most or retry_owner(policy) == "activity"}
    return gate.Served(frozenset(policy for policy, _ in found), frozenset(retried))


def _unreported(main: Database, shadows: Database, since: datetime) -> list[str]:
    """Return batches whose shadow run was submitted since then and hasn't reported. A resumed batch needs a new report."""
    query = select(ShadowSubmission.batch_id, ShadowSubmission.generation)
    query = query.where(ShadowSubmission.status == "submitted", ShadowSubmission.updated_at >= since)
    with main.read() as connection:
        submitted = connection.execute(query.order_by(ShadowSubmission.updated_at)).tuples().all()
    reported: set[tuple[str, int]] = set()
    # Of any age: a submission that is repeated, since Prefect was slow to answer, gets no report of its own.
    with shadows.read() as connection:
        for some in blocks([batch_id for batch_id, _ in submitted], IDS):
            made = select(StoredReport.batch_id, StoredReport.report["generation"].as_integer())
            reported |= set(connection.execute(made.where(StoredReport.batch_id.in_(some))).tuples())
    return [batch_id for batch_id, generation in submitted if (batch_id, generation) not in reported]


def save_baseline(database: Database, baseline: Baseline) -> None:
    """Store a baseline."""
    row: Mapping[str, Any] = {
        "id": new_id("knowledge_parity_baseline"),
        "ontology_hash": baseline.subject.ontology_hash,
        "baseline": baseline.to_dict(),
    }
    with database.write() as connection:
        connection.execute(insert(StoredBaseline).values(row))


def newest_baseline(database: Database, subject: Subject) -> Baseline | None:
    """Return the newest baseline of this subject, or None if there is none for the present code."""
    query = select(StoredBaseline.baseline).where(StoredBaseline.ontology_hash == subject.ontology_hash)
    with database.read() as connection:
        for values in connection.execute(query.order_by(StoredBaseline.created_at.desc())).scalars():
            if values.get("subject") == asdict(subject):
                return Baseline.from_dict(values)
    return None
