"""Which document is worked on next: request order, places and rounds (CONTRACT 4). Knows no Prefect and no store.

A lane is one of at most `concurrency` workers that take documents from a shared line. A lane that raises
DocumentsUnfinishedError is called again after the policy's wait; until then it keeps its place and its document.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Mapping
from threading import Condition, Lock

from compat.policy import next_round
from compat.recording.recorder import Outcome

# Documents that a name or a message lists before it counts the rest.
MOST_NAMED = 3


class DocumentsUnfinishedError(Exception):
    """Documents have no outcome yet; another attempt is due."""


class DocumentsFailedError(Exception):
    """Documents of a lane failed for good. Every document that it took has its outcome."""


class LanesClosedError(Exception):
    """The flow has ended; no lane may go on after it."""


class Lane:
    """One worker's state, which is kept over its retries."""

    def __init__(self, lanes: "Lanes", place: int, places: int) -> None:
        self.lanes = lanes
        self.place = place
        self.places = places
        self.name = f"lane {place} of {places}"
        # Under Places: the document that waits for its next attempt, and whether the lane ends with the one it has.
        self.held: str | None = None
        self.is_last = False
        # Under Rounds: the document in work, and the one that begins as that ends.
        self.in_work: set[str] = set()
        # Documents that failed at least once, and those that failed for good.
        self.troubled: list[str] = []
        self.failed: list[str] = []


class Lanes(ABC):
    """What lanes share. Thread-safe."""

    def __init__(self) -> None:
        # Held over taking a document and starting its attempt, so that documents start in request order in the rows too.
        self.in_order = Lock()
        self._turn = Condition()
        self._closed = False
        self._line: deque[str] = deque()

    @abstractmethod
    def take(self, lane: Lane, ahead: bool = False, /) -> str | None:
        """Return the lane's next document; None if it has to end or to wait for the others. Never blocks.

        ``ahead``: the document before is about to succeed.
        """

    def put_back(self, lane: Lane, document_id: str) -> None:
        """Take back a document that was taken ahead: the one before didn't succeed."""
        with self._turn:
            lane.in_work.discard(document_id)
            self._line.appendleft(document_id)

    @abstractmethod
    def settle(self, lane: Lane, document_id: str, outcome: Outcome) -> None:
        """Note the outcome of an attempt."""

    @abstractmethod
    def rest(self, lane: Lane) -> None:
        """End a lane's run: return if all is well, else raise DocumentsUnfinishedError or DocumentsFailedError."""

    @abstractmethod
    def leave(self, lane: Lane) -> None:
        """Note that a lane has ended, in whatever way. Nobody waits for it from now on."""

    @property
    @abstractmethod
    def wants_lane(self) -> bool:
        """Whether an ended lane needs a successor in its place."""

    def close(self) -> None:
        """End every lane at its next step. Lanes that wait for others raise LanesClosedError now."""
        with self._turn:
            self._closed = True
            self._turn.notify_all()

    def _check_open(self) -> None:
        if self._closed:
            raise LanesClosedError("the flow run has ended; this lane does nothing more")


class Places(Lanes):
    """Owner `activity`: a document that waits for its next attempt keeps its place.

    A lane takes documents while they succeed. The first one that doesn't is the lane's last: its further attempts are that
    lane's retries. When the lane ends, another one takes its place.
    """

    def __init__(self, document_ids: Iterable[str], ends_at_failure: bool = False) -> None:
        """Line up the documents.

        Args:
            document_ids: In the order of the request.
            ends_at_failure: Whether the first document that fails for good ends the line.
        """
        super().__init__()
        self._line.extend(document_ids)
        self._ends_at_failure = ends_at_failure

    def take(self, lane: Lane, ahead: bool = False, /) -> str | None:
        """Return the lane's next document, or None if there is none for it."""
        with self._turn:
            self._check_open()
            if lane.held is not None:
                return None if ahead else lane.held
            return self._line.popleft() if self._line and not lane.is_last else None

    def settle(self, lane: Lane, document_id: str, outcome: Outcome) -> None:
        """Note the outcome of an attempt."""
        if outcome == "unfinished":
            lane.held, lane.is_last, lane.name, lane.troubled = document_id, True, document_id, [document_id]
            raise DocumentsUnfinishedError(f"{document_id} failed for now; it is tried again")
        lane.held = None
        if outcome == "failed":
            lane.is_last, lane.name, lane.failed = True, document_id, [document_id]
        if outcome == "stopped" or (outcome == "failed" and self._ends_at_failure):
            with self._turn:
                self._line.clear()

    def rest(self, lane: Lane) -> None:
        """Raise if the lane's task run is to be retried or has failed."""
        if lane.failed:
            raise DocumentsFailedError(f"{named(lane.failed)} failed")

    def leave(self, lane: Lane) -> None:
        """Nothing: no lane waits for another."""

    @property
    def wants_lane(self) -> bool:
        """Whether a further lane would find a document."""
        with self._turn:
            return bool(self._line)


class Rounds(Lanes):
    """Owner `orchestrator`: no document gets its attempt k + 1 before every one has finished attempt k or has its outcome.

    A lane that finds the round's line empty waits for the others; the last to arrive begins the next round. Only as many lanes
    go on as documents are left. That number never grows, so an ended lane isn't needed again.
    """

    def __init__(self, attempts: Mapping[str, int]) -> None:
        """Line up the documents.

        Args:
            attempts: The documents without an outcome, in the order of the request, and their finished attempts.
        """
        super().__init__()
        self._attempts = dict(attempts)
        self._line.extend(next_round(self._attempts))
        self._round = 1
        # Lanes of this round; those of them that wait for its end; and why each goes on then, or None if it ends.
        self._at_work: set[Lane] = set()
        self._arrived: set[Lane] = set()
        self._reasons: dict[Lane, str | None] = {}

    def take(self, lane: Lane, _ahead: bool = False, /) -> str | None:
        """Return the lane's next document, or None if there is none for it."""
        with self._turn:
            self._check_open()
            self._at_work.add(lane)
            if not self._line:
                return None
            document_id = self._line.popleft()
            lane.in_work.add(document_id)
            return document_id

    def settle(self, lane: Lane, document_id: str, outcome: Outcome) -> None:
        """Note the outcome of an attempt."""
        with self._turn:
            lane.in_work.discard(document_id)
            if outcome == "stopped":
                self._line.clear()
                self._attempts.clear()
            elif outcome != "unfinished":
                self._attempts.pop(document_id, None)
            elif document_id in self._attempts:
                self._attempts[document_id] += 1
            if outcome == "failed":
                lane.failed.append(document_id)
            if outcome in ("unfinished", "failed") and document_id not in lane.troubled:
                lane.troubled.append(document_id)
                lane.name = f"lane {lane.place} of {lane.places}: {named(lane.troubled)}"

    def rest(self, lane: Lane) -> None:
        """Raise if the lane's task run is to be retried or has failed."""
        with self._turn:
            self._arrived.add(lane)
            self._end_round()
            while lane not in self._reasons:
                self._check_open()
                self._turn.wait()
            reason = self._reasons.pop(lane)
        if reason is not None:
            raise DocumentsUnfinishedError(reason)
        if lane.failed:
            raise DocumentsFailedError(f"{named(lane.failed)} failed")

    def leave(self, lane: Lane) -> None:
        """Note that the lane has ended, however it did."""
        with self._turn:
            self._at_work.discard(lane)
            self._arrived.discard(lane)
            for document_id in lane.in_work:
                # The lane died with this document; no other lane may die of it too.
                self._attempts.pop(document_id, None)
            self._end_round()

    @property
    def wants_lane(self) -> bool:
        """Whether a further lane would find a document."""
        return False

    def _end_round(self) -> None:
        """Begin the next round if every lane of this one has arrived."""
        if not self._arrived or self._arrived != self._at_work:
            return
        self._round += 1
        self._line = deque(next_round(self._attempts))
        reason = f"round {self._round} follows, of {named(self._line)}"
        in_place = sorted(self._arrived, key=lambda lane: lane.place)
        self._at_work = set(in_place[: len(self._attempts)])
        self._reasons |= {lane: reason if lane in self._at_work else None for lane in in_place}
        self._arrived = set()
        self._turn.notify_all()


def named(document_ids: Iterable[str]) -> str:
    """Return the first ids, and how many more there are."""
    all_of_them = list(document_ids)
    more = len(all_of_them) - MOST_NAMED
    return ", ".join(all_of_them[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
