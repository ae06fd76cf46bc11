"""How a side worked through its batch: steps collected block by block as numbers, and judged at the end."""

from array import array
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy

from compat.parity.sides import work
from compat.parity.sides.values import inside, timestamp
from compat.parity.sides.work import Limits, Steps

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KINDS: dict[Any, work.Kind] = {
    "BatchEvent.DocumentStarted": "start",
    "BatchEvent.DocumentCompleted": "end",
    "BatchEvent.DocumentFailed": "end",
}


class Conduct:
    """The steps of one side, by its events and by its activity rows."""

    def __init__(self, limits: Limits, is_judged: bool = True) -> None:
        """``is_judged``: whether all steps are of one run; the rules are about one run."""
        self._limits = limits
        self._is_judged = is_judged
        self._positions: dict[str, int] = {}
        self._by_events = Steps()
        self._by_attempts = Steps()
        self._sequences = array("q")
        self._timestamps = array("q")

    def document(self, document_id: str, position: int) -> None:
        """Note where a document stands in the request."""
        self._positions[document_id] = position

    def attempt(self, document_id: str, started: datetime | None, ended: datetime | None) -> None:
        """Note an activity row. Rows of unknown documents or without times are reported elsewhere."""
        position = self._positions.get(document_id)
        if position is None or started is None or ended is None:
            return
        self._by_attempts.add("start", position, _microseconds(started))
        self._by_attempts.add("end", position, _microseconds(ended), at_once=ended == started)

    def event(self, document_id: str | None, sequence: int, payload: Any) -> None:
        """Note an event, of a document or of the batch itself."""
        moment = timestamp(payload)
        if moment is not None:
            self._sequences.append(sequence)
            self._timestamps.append(_microseconds(moment))
        kind = _KINDS.get(inside(payload, "_tag"))
        position = self._positions.get(document_id or "")
        if kind is not None and position is not None:
            self._by_events.add(kind, position, sequence)

    def breaches(self) -> dict[str, str]:
        """Return each rule that was broken, with the first case of it."""
        if not self._is_judged:
            return {}
        found: dict[str, str | None] = {"timestamps": self._backwards()}
        for source, steps in (("events", self._by_events), ("attempts", self._by_attempts)):
            for rule, text in work.schedule(steps, self._limits, self._name).items():
                found[f"{rule}_by_{source}"] = text
        found["use_of_places"] = work.use_of_places(self._by_attempts, self._limits)
        found["waits"] = work.waits(self._by_attempts, self._limits, self._name)
        return {rule: text for rule, text in found.items() if text is not None}

    def _backwards(self) -> str | None:
        for before, after in pairwise(map(int, numpy.argsort(self._sequences, kind="stable"))):
            if self._timestamps[after] < self._timestamps[before]:
                early = (self._timestamps[before] - self._timestamps[after]) / work.MICROSECONDS
                return f"event {self._sequences[after]} is {early:.3f} s earlier than the one before it"
        return None

    def _name(self, position: int) -> str:
        # Asked for a breach alone, so it may take a while.
        return next(name for name, standing in self._positions.items() if standing == position)


def _microseconds(moment: datetime) -> int:
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * work.MICROSECONDS + since.microseconds
