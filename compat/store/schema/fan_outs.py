"""The tables of fan-outs: a source that was cut into batches, and the batches that it was cut into."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from compat.contracts import utc_now
from compat.store.schema.base import Base


class FanOutRow(Base):
    """A source that was cut into batches. ``batch_count`` is null until all of them are stored."""

    __tablename__ = "knowledge_fan_out"
    id: Mapped[str] = mapped_column(primary_key=True)
    organization_id: Mapped[str]
    ontology_id: Mapped[str]
    documents_per_batch: Mapped[int]
    batch_count: Mapped[int | None]
    config: Mapped[dict[str, Any]]
    # Empty: whoever runs a batch decides.
    mode: Mapped[str]
    extractor: Mapped[str]
    cancelled_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class FanOutBatch(Base):
    """A batch of a fan-out, whose documents are stored before anybody claims it. ``number`` counts from 1.

    ``submissions`` is how often it was handed to Prefect, the last time as ``flow_run_id``.
    """

    __tablename__ = "knowledge_fan_out_batch"
    fan_out_id: Mapped[str] = mapped_column(ForeignKey(FanOutRow.id), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    batch_id: Mapped[str] = mapped_column(unique=True)
    documents: Mapped[int]
    params_hash: Mapped[str]
    submissions: Mapped[int] = mapped_column(default=0)
    flow_run_id: Mapped[str | None]
