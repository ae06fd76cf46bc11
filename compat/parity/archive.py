"""Reports and baselines at rest, in the shadow's namespace. Nothing is overwritten."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select

from compat.database import Database
from compat.ids import new_id
from compat.parity.baseline import Baseline
from compat.parity.report import ParityReport
from compat.schema import StoredBaseline, StoredReport


def save(database: Database, report: ParityReport) -> str:
    """Keeps a report. Returns its id."""
    row = {
        "id": new_id("knowledge_parity_report"),
        "batch_id": report.batch_id,
        "channel": report.channel,
        "verdict": report.verdict,
        "created_at": report.created_at,
        "report": report.to_dict(),
    }
    with database.write() as connection:
        connection.execute(insert(StoredReport).values(row))
    return str(row["id"])


def reports(database: Database, batch_id: str | None = None, since: datetime | None = None) -> list[ParityReport]:
    """The reports of a batch, or of all, the newest first."""
    query = select(StoredReport.report).order_by(StoredReport.created_at.desc(), StoredReport.id)
    if batch_id is not None:
        query = query.where(StoredReport.batch_id == batch_id)
    if since is not None:
        query = query.where(StoredReport.created_at >= since)
    with database.read() as connection:
        return [ParityReport.from_dict(values) for values in connection.execute(query).scalars()]


def save_baseline(database: Database, ontology_hash: str, baseline: Baseline) -> None:
    """Keeps a baseline for the ontology and documents that it was measured on."""
    row: Mapping[str, Any] = {
        "id": new_id("knowledge_parity_baseline"),
        "ontology_hash": ontology_hash,
        "baseline": baseline.to_dict(),
    }
    with database.write() as connection:
        connection.execute(insert(StoredBaseline).values(row))


def newest_baseline(database: Database, ontology_hash: str) -> Baseline | None:
    """The newest baseline that was measured with an ontology; None where there is none."""
    query = select(StoredBaseline.baseline).where(StoredBaseline.ontology_hash == ontology_hash)
    with database.read() as connection:
        values = connection.execute(query.order_by(StoredBaseline.created_at.desc()).limit(1)).scalar()
    return None if values is None else Baseline.from_dict(values)
