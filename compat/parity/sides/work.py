"""Whether a batch was worked through as CONTRACT 4 says: order, places, rounds and waits. Pure functions over numbers.

Both runtimes are judged: each takes a document only where a place is free, and takes them in the order of the request.
So when one starts, the documents in work and those before it that have not started yet are in other hands, of which there
are `concurrency` less one. Rounds are judged in the same way, each for itself.
"""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy

from compat.policy import RetryPolicy

Kind = Literal["start", "end"]
# How long, in seconds, a batch may go on with one document in work where more are pending: a busy machine is slow to start
# its threads, Prefect to answer, and on SQLite one thread may win the write lock again and again.
LONE_SECONDS = 30.0
# How much later than after its wait an attempt may come, in seconds: Prefect may be slow to answer.
LATE_SECONDS = 10.0
# How much sooner, as a share of the wait and in seconds: waits are measured by another clock than rows.
EARLY_SHARE, EARLY_SECONDS = 0.1, 0.005
MICROSECONDS = 1_000_000


@dataclass(frozen=True)
class Limits:
    """What the contract allows a batch.

    Attributes:
        concurrency: Most documents in work at a time.
        policy: Who retries, how often, after which waits.
    """

    concurrency: int
    policy: RetryPolicy

    @property
    def places(self) -> int:
        """Documents in work at a time."""
        return 1 if self.policy.sequential else self.concurrency

    @property
    def in_rounds(self) -> bool:
        """Whether every document finishes an attempt before any gets its next."""
        return self.policy.owner == "orchestrator"


class Steps:
    """Starts and ends of attempts, or of documents, by the position of the document. Kept as numbers: a batch may be large."""

    def __init__(self) -> None:
        self._at = array("q")
        self._rank = array("b")
        self._position = array("i")

    def add(self, kind: Kind, position: int, at: int, *, at_once: bool = False) -> None:
        """Add a step at a moment (microseconds) or number. ``at_once``: an end at the very moment of its own start."""
        self._at.append(at)
        # Of steps at one moment the ends come first, which is what the contract asks for.
        self._rank.append(1 if kind == "start" else 2 if at_once else 0)
        self._position.append(position)

    def __iter__(self) -> Iterator[tuple[Kind, int, int]]:
        """Iterate over kind, position and moment, in the order in which they happened."""
        for each in map(int, numpy.lexsort((self._rank, self._at))):
            yield "start" if self._rank[each] == 1 else "end", self._position[each], self._at[each]

    def none_yet(self) -> "array[int]":
        """Return a zero for each position."""
        return array("i", [0]) * (max(self._position, default=-1) + 1)

    def totals(self) -> "tuple[array[int], array[int]]":
        """Return how many starts and how many ends each position has."""
        starts, ends = self.none_yet(), self.none_yet()
        for rank, position in zip(self._rank, self._position, strict=True):
            (starts if rank == 1 else ends)[position] += 1
        return starts, ends


def schedule(steps: Steps, limits: Limits, name: Callable[[int], str]) -> Mapping[str, str]:
    """Return the first breach, in words, of each of ``order``, ``places`` and ``rounds`` that was not kept.

    Args:
        steps: Of attempts, or of documents as their events tell them.
        limits: What is allowed.
        name: The document at a position.
    """
    breaches: dict[str, str] = {}
    starts, ends = steps.totals()
    number, finished = steps.none_yet(), steps.none_yet()
    turn = _Round(1, array("i", (position for position, count in enumerate(starts) if count)))
    in_work: set[int] = set()
    for kind, position, _ in steps:
        if kind == "end":
            finished[position] += 1
            if limits.in_rounds or finished[position] == ends[position]:
                in_work.discard(position)
            continue
        number[position] += 1
        if number[position] > 1 and not limits.in_rounds:
            # It has kept its place.
            continue
        if number[position] > turn.number:
            late = next((each for each in turn.queue if finished[each] < turn.number), None)
            if late is not None:
                text = f"{name(position)} got attempt {number[position]} before {name(late)} had finished attempt {turn.number}"
                breaches.setdefault("rounds", text)
            turn = _Round(number[position], array("i", (each for each in turn.queue if starts[each] >= number[position])))
        passed_over = turn.start(position)
        if len(in_work) >= limits.places:
            text = f"{name(position)} started while {len(in_work)} others were in work or waiting, at most {limits.places} may be"
            breaches.setdefault("places", text)
        elif len(in_work) + passed_over >= limits.places:
            breaches.setdefault(
                "order", f"{name(position)} started before {passed_over} that come before it, {len(in_work)} were in work"
            )
        in_work.add(position)
    return breaches


def use_of_places(attempts: Steps, limits: Limits) -> str | None:
    """Return when no more than one document was in work for long, where others were pending and places free."""
    if limits.places < 2:
        return None
    starts, ends = attempts.totals()
    pending = sum(1 for each in starts if each)
    number, finished = attempts.none_yet(), attempts.none_yet()
    in_work: set[int] = set()
    alone_since: int | None = None
    turn = 1
    for kind, position, at in attempts:
        if alone_since is not None and at - alone_since > LONE_SECONDS * MICROSECONDS:
            seconds = (at - alone_since) / MICROSECONDS
            return f"one document at most was in work for {seconds:.1f} s, where {pending} more were pending"
        if kind == "start":
            number[position] += 1
            if limits.in_rounds and number[position] > turn:
                turn = number[position]
                pending = sum(1 for each in starts if each >= turn)
            if limits.in_rounds or number[position] == 1:
                pending -= 1
            in_work.add(position)
        else:
            finished[position] += 1
            if limits.in_rounds or finished[position] == ends[position]:
                in_work.discard(position)
        if len(in_work) > 1 or pending < 1:
            alone_since = None
        elif alone_since is None:
            alone_since = at
    return None


def waits(attempts: Steps, limits: Limits, name: Callable[[int], str]) -> str | None:
    """Return the first wait before a next attempt that is not the policy's, give or take what a machine takes."""
    number = attempts.none_yet()
    starts, _ = attempts.totals()
    # Of the documents between two attempts.
    ended: dict[int, int] = {}
    last_end, turn = 0, 1
    for kind, position, at in attempts:
        if kind == "end":
            last_end = at
            if number[position] < starts[position]:
                ended[position] = at
            continue
        number[position] += 1
        attempt = number[position]
        if limits.in_rounds:
            # A round's first document follows the last of the round before it; the others wait for a place, as long as it takes.
            before = last_end if attempt > turn else None
            turn = max(turn, attempt)
        else:
            before = ended.pop(position, None)
        if attempt == 1 or before is None or attempt - 2 >= len(limits.policy.delays):
            continue
        wanted, took = limits.policy.delays[attempt - 2], (at - before) / MICROSECONDS
        if took < wanted * (1 - EARLY_SHARE) - EARLY_SECONDS or took > wanted + LATE_SECONDS:
            return f"{name(position)} waited {took:.3f} s for attempt {attempt}, the policy's wait is {wanted:g} s"
    return None


class _Round:
    """The documents that get an attempt in one round, in the order of the request, and which of them have started."""

    def __init__(self, number: int, queue: "array[int]") -> None:
        self.number = number
        self.queue = queue
        self._next = 0
        self._ahead: set[int] = set()

    def start(self, position: int) -> int:
        """Note that a document starts. Return how many before it have not."""
        index = bisect_left(self.queue, position)
        passed_over = index - self._next - sum(1 for each in self._ahead if each < index)
        self._ahead.add(index)
        while self._next in self._ahead:
            self._ahead.discard(self._next)
            self._next += 1
        return max(passed_over, 0)
