"""One of a batch's places: a thread that works on one document after another, each begun as the one before ends."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

from compat.recording.commits import Entry
from compat.recording.rows import Begun

Outcome = Literal["succeeded", "failed", "unfinished", "stopped"]


@dataclass(frozen=True)
class Started:
    """An attempt whose beginning is queued to be written."""

    begun: Begun
    entry: Entry


class Place:
    """The documents of one thread, in the order in which it gets them; iterating begins them.

    The end of a document and the beginning of the next are written in one transaction, so that a thread waits for one commit
    a document. ``Recorder.work`` calls ``begin_next`` as a document succeeds.
    """

    def __init__(
        self,
        start: Callable[[str, Entry | None], Started | Outcome],
        in_order: AbstractContextManager[object],
        take: Callable[[bool], str | None],
        put_back: Callable[[str], None],
    ) -> None:
        """Have documents from a line.

        Args:
            start: Begins a document, in the transaction of the entry where there is one: ``Recorder.start``.
            in_order: Held over taking a document and beginning it: otherwise a later document could start before an
                earlier one.
            take: Returns the line's next document, if there is one for this place; True where the one before is about to end.
            put_back: Takes a document back as the line's next: the one before didn't end as it was about to.
        """
        self._start = start
        self._in_order = in_order
        self._take = take
        self._put_back = put_back
        self._next: tuple[str, Started | Outcome] | None = None

    def __iter__(self) -> Iterator[tuple[str, Started | Outcome]]:
        while (turn := self._next or self._begun(None)) is not None:
            self._next = None
            yield turn

    def begin_next(self, end: Entry) -> None:
        """Begin the next document in the transaction of ``end``, if there is one."""
        self._next = self._begun(end)

    def put_back(self) -> None:
        """Give the next document back. The end of the one before was refused, and nothing of the beginning is written."""
        if self._next is not None:
            self._put_back(self._next[0])
            self._next = None

    def _begun(self, end: Entry | None) -> tuple[str, Started | Outcome] | None:
        with self._in_order:
            document_id = self._take(end is not None)
            return None if document_id is None else (document_id, self._start(document_id, end))
