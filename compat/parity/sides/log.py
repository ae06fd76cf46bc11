"""The event log of a side, read in its order, a page of events in memory at a time."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import and_, select

from compat.parity.sides import values
from compat.parity.sides.work import Kind, Steps
from compat.store.database import Database
from compat.store.events import PROGRESS
from compat.store.schema import BatchDocument, BatchEventRow
from compat.store.sql import pages

_KINDS: Mapping[Any, Kind] = {
    "BatchEvent.DocumentStarted": "start",
    "BatchEvent.DocumentCompleted": "end",
    "BatchEvent.DocumentFailed": "end",
}
# Stands for all document events between two events of the batch itself; their order is judged elsewhere.
_DOCUMENTS: Mapping[str, Any] = {"event": "documents", "payload": "", "is_of_this_batch": True, "has_timestamp": True}
# Documents next to each other whose events are looked for together.
NEIGHBOURS = 100


class Log:
    """What the events of a batch tell that hold, which those that a resume superseded don't.

    Attributes:
        own: The batch's own events, with one step for all document events between two of them.
        backwards: The first event that is earlier than the one before it, in words.
    """

    def __init__(self, database: Database, batch_id: str, steps: Steps) -> None:
        """Add the starts and ends of documents to ``steps``, by the numbers of their events."""
        self.own: list[Mapping[str, Any]] = []
        self.backwards: str | None = None
        self._newest: datetime | None = None
        # From which number to which the events of neighbours are.
        self._spans: dict[int, tuple[int, int]] = {}
        event, document = BatchEventRow, BatchDocument
        known = and_(document.batch_id == event.batch_id, document.document_id == event.document_id)
        query = select(event.sequence, event.key, event.document_id, event.payload, document.position).outerjoin(document, known)
        query = query.where(event.batch_id == batch_id, event.superseded.is_(False))
        documents_told = False
        with database.read() as connection:
            for row in (row for page in pages(connection, query, event.sequence) for row in page):
                if row.document_id is None:
                    self.own += [_DOCUMENTS] * documents_told
                    self.own.append({**values.event(row.payload, batch_id), "raw": row.payload})
                    self._compare_moment(row)
                elif not row.key.startswith(PROGRESS):
                    self._add_step(row, steps)
                    self._compare_moment(row)
                documents_told = row.document_id is not None
        self.own += [_DOCUMENTS] * documents_told

    def span(self, positions: Iterable[int]) -> tuple[int, int]:
        """Return the numbers between which all events of the documents at these positions are; the second is less for none."""
        found = [self._spans[each] for each in {position // NEIGHBOURS for position in positions} if each in self._spans]
        return min((first for first, _ in found), default=0), max((last for _, last in found), default=-1)

    def _add_step(self, row: Any, steps: Steps) -> None:
        if row.position is None:
            return
        neighbours = row.position // NEIGHBOURS
        first, _ = self._spans.get(neighbours, (row.sequence, row.sequence))
        self._spans[neighbours] = first, row.sequence
        kind = _KINDS.get(values.inside(row.payload, "_tag"))
        if kind is not None:
            steps.add(kind, row.position, row.sequence)

    def _compare_moment(self, row: Any) -> None:
        moment = values.timestamp(row.payload)
        if moment is None:
            return
        if self._newest is not None and moment < self._newest and self.backwards is None:
            early = (self._newest - moment).total_seconds()
            self.backwards = f"event {row.sequence} is {early:.3f} s earlier than the one before it"
        self._newest = moment
