"""A fan-out as its readers see it: what was asked for, its batches, and where they stand."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from compat.contracts import BatchConfig
from compat.status import RowStatus
from compat.store import BatchRecord

# Where a batch stands that nobody has claimed yet.
WAITING = "waiting"


@dataclass(frozen=True)
class FanOut:
    """What was asked for. An empty ``mode`` or ``extractor`` is left to whoever runs a batch.

    ``batch_count`` is None until the source was read to its end.
    """

    id: str
    organization_id: str
    ontology_id: str
    documents_per_batch: int
    config: BatchConfig
    mode: str = ""
    extractor: str = ""
    batch_count: int | None = None
    is_cancelled: bool = False


@dataclass(frozen=True)
class Part:
    """One of its batches; ``batch`` is None until somebody has claimed it."""

    number: int
    batch_id: str
    documents: int
    submissions: int
    flow_run_id: str | None
    batch: BatchRecord | None

    @property
    def status(self) -> str:
        """``waiting`` until it is claimed, then the batch's own; one whose process died is ``failed``."""
        if self.batch is None:
            return WAITING
        if self.batch.dead:
            return RowStatus.FAILED.value
        # Claimed, and about to run.
        return RowStatus.RUNNING.value if self.batch.status == RowStatus.PENDING else str(self.batch.status)


@dataclass(frozen=True)
class Standing:
    """Where a fan-out stands: its batches and their sums."""

    fan_out: FanOut
    parts: Sequence[Part]

    @cached_property
    def batches(self) -> Counter[str]:
        """How many of its batches have each status."""
        return Counter(part.status for part in self.parts)

    @property
    def status(self) -> str:
        """The status of the whole: ``pending`` until a batch is claimed, then ``running`` until every batch has ended."""
        if self.fan_out.batch_count is None:
            return RowStatus.PENDING.value
        if self.batches[RowStatus.RUNNING]:
            return RowStatus.RUNNING.value
        if self.fan_out.is_cancelled:
            return RowStatus.CANCELLED.value
        if self.batches[WAITING]:
            return RowStatus.PENDING.value if self.batches[WAITING] == len(self.parts) else RowStatus.RUNNING.value
        ended_otherwise = (each for each in (RowStatus.FAILED, RowStatus.CANCELLED) if self.batches[each])
        return next(ended_otherwise, RowStatus.COMPLETED).value

    @property
    def total_documents(self) -> int:
        """The documents of all batches."""
        return sum(part.documents for part in self.parts)

    def count(self, name: str) -> int:
        """Return the sum of a count of the claimed batches, such as ``completed_documents``."""
        return sum(int(getattr(part.batch, name)) for part in self.parts if part.batch is not None)
