"""The tables of the cutover: every change of who serves, and what was found of each batch that the engine had a hand in."""

from datetime import datetime
from typing import Any

from sqlalchemy import Double
from sqlalchemy.orm import Mapped, mapped_column

from compat.contracts import utc_now
from compat.store.schema.base import Base


class CutoverRecord(Base):
    """A change of who serves, or a drill; never overwritten.

    ``action`` is ``set``, ``promote``, ``demote``, ``restore`` or ``drill``. ``details`` is what it was decided on: the gate's
    answer, or the batches that fired ``trigger``. ``told_at`` is when Prefect's automations were told of a demotion.
    """

    __tablename__ = "knowledge_cutover_record"
    id: Mapped[str] = mapped_column(primary_key=True)
    action: Mapped[str]
    mode: Mapped[str | None]
    percent: Mapped[float | None] = mapped_column(Double)
    organization: Mapped[str | None]
    reason: Mapped[str | None]
    trigger: Mapped[str | None]
    is_override: Mapped[bool] = mapped_column(default=False)
    made_by: Mapped[str]
    details: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)
    told_at: Mapped[datetime | None]


class BatchCheck(Base):
    """What the demotion's checks found of one batch: of one that the engine served, or of the shadow of one.

    ``findings`` has a text for each trigger whose check failed, by the trigger's name.
    """

    __tablename__ = "knowledge_batch_check"
    batch_id: Mapped[str] = mapped_column(primary_key=True)
    runtime: Mapped[str] = mapped_column(primary_key=True)
    generation: Mapped[int]
    findings: Mapped[dict[str, Any]]
    checked_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)
