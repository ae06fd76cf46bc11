"""The tables of shadow runs: requests, the tape, reports and baselines."""

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Mapped, mapped_column

from compat.contracts import utc_now
from compat.store.schema.base import Base


class TapeRow(Base):
    """The error that one attempt raised in shadow mode.

    The attempt that succeeds ends its document, so what it gave is the outcome's extraction: a copy of that here cost
    legacy up to a tenth of its time.
    """

    __tablename__ = "knowledge_tape"
    batch_id: Mapped[str] = mapped_column(primary_key=True)
    document_id: Mapped[str] = mapped_column(primary_key=True)
    generation: Mapped[int] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    error_class: Mapped[str]
    error_message: Mapped[str]
    error_terminal: Mapped[bool]
    error_args: Mapped[list[Any]]


class ShadowSubmission(Base):
    """Whether a batch in shadow mode has its shadow: ``requested``, ``submitted`` or ``refused``, and why not."""

    __tablename__ = "knowledge_shadow_submission"
    batch_id: Mapped[str] = mapped_column(primary_key=True)
    generation: Mapped[int]
    status: Mapped[str]
    reason: Mapped[str | None]
    flow_run_id: Mapped[str | None]
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now)


class StoredReport(Base):
    """A parity report, in the shadow's namespace. Never overwritten: a batch that is compared again has another one."""

    __tablename__ = "knowledge_parity_report"
    id: Mapped[str] = mapped_column(primary_key=True)
    batch_id: Mapped[str] = mapped_column(index=True)
    channel: Mapped[str]
    verdict: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)
    report: Mapped[dict[str, Any]]


class StoredBaseline(Base):
    """The noise of the live channel, as it was measured once."""

    __tablename__ = "knowledge_parity_baseline"
    id: Mapped[str] = mapped_column(primary_key=True)
    ontology_hash: Mapped[str] = mapped_column(index=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    baseline: Mapped[dict[str, Any]]
