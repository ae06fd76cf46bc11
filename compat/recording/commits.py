"""Group commit: one transaction for all writes that the threads of a batch have ready.

No write is reported before it is committed. If the transaction fails, each attempt's writes are repeated in a transaction of
their own, with best-effort rows in savepoints. So one attempt's failure never affects another, and the usual case needs no
savepoints.
"""

import logging
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Lock
from time import monotonic
from typing import Any

from sqlalchemy import Connection, select

from compat.contracts import utc_now
from compat.errors import LeaseLostError, StoreUnavailableError
from compat.fault_points import fault_point
from compat.recording.driver import transaction
from compat.recording.rows import EVENT, SUCCEEDED, EventRow, Write
from compat.store import Claim, Store
from compat.store.database import BUSY_SECONDS
from compat.store.failures import best_effort
from compat.store.record import COUNTS
from compat.store.schema import BatchExecution
from compat.store.schema.statements import Parameters, Statement, moment_for, update

log = logging.getLogger("knowledge_batch")

# The most times that a batch's counts are copied to the row that holds all of its document ids. Up to so many documents that
# is once a document; a larger batch copies less often, so that a document costs the same in every batch.
COPIES = 1_000

# Seconds after which a thread that waits for its commit looks by itself: the one that was to write next may have died.
LOOK_SECONDS = 1.0

# Pages of SQLite's log after which it is copied into its file, 32 MB: a page that many attempts change is copied once.
CHECKPOINT_PAGES = 8_000
PAGE_BYTES = 4_096
# How many pages a row changes, about: its own and one of an index. A graph's JSON has pages of its own.
ROW_PAGES = 2
EXTRACTION = SUCCEEDED.names.index("extraction")

# Who holds the batch, whether it is to end, the events' numbers and the counts, in one statement; it locks the run's row.
RUN = Statement(
    "UPDATE knowledge_batch_run SET next_sequence = next_sequence + ?, completed_documents = completed_documents + ?,"
    " failed_documents = failed_documents + ?, entity_count = entity_count + ?, relation_count = relation_count + ?"
    " WHERE batch_id = ? AND owner = ? RETURNING cancel_requested_at, next_sequence,"
    " completed_documents, failed_documents, entity_count, relation_count",
    ("next_sequence", *COUNTS, "batch_id", "holder_token"),
)
COUNTED = update(BatchExecution, (*COUNTS, "updated_at"), ("id",))
# Whether an outcome is stored to the moment of its end.
STORED = Statement(
    "SELECT 1 FROM knowledge_document_outcome WHERE outcome = ? AND attempts = ? AND started_at = ? AND ended_at = ?"
    " AND batch_id = ? AND document_id = ?",
    ("outcome", "attempts", "started_at", "ended_at", "batch_id", "document_id"),
)


@dataclass(eq=False)
class Entry:
    """What one attempt has to write at its beginning or at its end.

    ``counts`` are added to the batch's, in the order of ``COUNTS``. ``event`` lacks its sequence number. ``behind``: the
    entry that this one depends on; if that fails, this one is refused.
    """

    writes: list[Write]
    event: EventRow | None
    counts: tuple[int, int, int, int] = (0, 0, 0, 0)
    begins: bool = False
    succeeds: bool = False
    behind: "Entry | None" = None
    queued: bool = field(default=False, init=False)
    # What came of it.
    done: bool = field(default=False, init=False)
    refused: bool = field(default=False, init=False)
    error: BaseException | None = field(default=None, init=False)
    # Wakes the thread that waits for it: the entry is done, or is to be written now.
    woken: SimpleQueue[None] = field(default_factory=SimpleQueue, init=False)


class Commits:
    """The writes of one batch in its holder's name, in the order in which they were added. Thread-safe."""

    def __init__(self, store: Store, claim: Claim) -> None:
        self._database = store.database
        self._claim = claim
        self._waiting: deque[Entry] = deque()
        # Held over a transaction, so that threads queue here and not at the database.
        self._writing = Lock()
        self._moment = moment_for(store.database.dialect)
        # Finished documents from one copy of the counts to the next.
        self._step = 0
        # Pages written since the last checkpoint, about.
        self._pages = 0

    def add(self, *entries: Entry) -> None:
        """Queue entries, of which no transaction has one without the next. Whichever thread opens the next one writes them."""
        # Known before a transaction begins: a thread that held one connection and waited for another could wait for ever.
        self._step = self._step or -(-self._total() // COPIES)
        for entry in entries:
            entry.queued = True
        # In one step: threads take turns between two.
        self._waiting.extend(entries)

    def wait(self, entry: Entry) -> bool:
        """Return once the entry is committed; False where it begins an attempt and the batch is to end.

        Raises LeaseLostError where the batch is in other hands, StoreUnavailableError or UnkeepableDataError.
        """
        while not entry.done:
            # One thread writes for all. The others sleep until it wakes them, each by itself: as a queue at the lock, they
            # would hold it one after the other only to see that they are done, each for as long as it waits for the interpreter.
            if not self._writing.acquire(blocking=False):
                with suppress(Empty):
                    entry.woken.get(timeout=LOOK_SECONDS)
                continue
            try:
                # Another thread may have written it between the look and the lock.
                if not entry.done:
                    self._write([self._waiting.popleft() for _ in range(len(self._waiting))])
            finally:
                self._let_go()
            if self._pages >= CHECKPOINT_PAGES:
                self._pages = 0
                self._checkpoint()
        if entry.error is not None:
            raise entry.error
        return not entry.refused

    def _let_go(self) -> None:
        self._writing.release()
        # After the release: a thread that came earlier found the lock taken and is asleep.
        with suppress(IndexError):
            self._waiting[0].woken.put(None)

    def _checkpoint(self) -> None:
        """Copy SQLite's log into its file: most of it while the other threads write, and then the little that they wrote.

        It takes tens of milliseconds. SQLite's own comes within a commit, and all threads would wait for it.
        """
        try:
            self._database.checkpoint()
            self._writing.acquire()
            try:
                self._database.checkpoint()
            finally:
                self._let_go()
        except StoreUnavailableError:
            log.debug("batch %s: the log was not copied", self._claim.batch_id, exc_info=True)

    def _write(self, entries: list[Entry]) -> None:
        try:
            try:
                self._together(entries)
            except Exception:
                # Writing each entry by itself shows which one failed, and why.
                log.debug("batch %s: %d writes are repeated one by one", self._claim.batch_id, len(entries), exc_info=True)
                self._one_by_one(entries)
        except BaseException:
            # This thread must end; the other threads write their entries themselves.
            self._waiting.extendleft(entry for entry in reversed(entries) if not entry.done)
            raise
        finally:
            for entry in entries:
                entry.woken.put(None)

    def _one_by_one(self, entries: list[Entry]) -> None:
        away: StoreUnavailableError | None = None
        until = monotonic() + BUSY_SECONDS
        for entry in entries:
            if away is not None and monotonic() >= until:
                # The store stays away: each would wait as long again, and the threads behind it with it.
                entry.error = away
            elif entry.behind is not None and entry.behind.error is not None:
                entry.refused = True
            else:
                try:
                    self._alone(entry)
                except _StoredError:
                    log.info("batch %s: an outcome was committed though the database's answer was lost", self._claim.batch_id)
                except StoreUnavailableError as error:
                    entry.error = away = error
                except Exception as error:
                    entry.error = error
            entry.done = True

    def _together(self, entries: list[Entry]) -> None:
        grouped: dict[Statement, list[Parameters]] = {}
        guarded = set()
        for write in (write for entry in entries for write in entry.writes):
            if write.rows:
                grouped.setdefault(write.statement, []).extend(write.rows)
            if write.guarded:
                guarded.add(write.statement)
        emitted = [entry.event for entry in entries if entry.event is not None]
        counts = tuple(map(sum, zip(*(entry.counts for entry in entries), strict=True)))
        with transaction(self._database) as writes:
            run = writes.fetch(RUN, self._run(len(emitted), counts))
            if run is None:
                raise LeaseLostError(self._claim.batch_id)
            cancelled, next_sequence, *now = run
            if cancelled is not None and any(entry.begins for entry in entries):
                raise _CancelledError
            self._pages += ROW_PAGES * sum(map(len, grouped.values()))
            self._pages += sum(len(row[EXTRACTION]) // PAGE_BYTES for row in grouped.get(SUCCEEDED, ()))
            for statement, rows in grouped.items():
                writes.write(statement, rows, each_changes_one=statement in guarded)
            if self._is_due(now, counts):
                writes.write(COUNTED, [self._counted(now)])
            _outcomes_written(entries)
            if emitted:
                first = next_sequence - len(emitted)
                moment = utc_now()
                writes.write(EVENT, [(number, *event(moment)) for number, event in enumerate(emitted, first)])
        for entry in entries:
            entry.done = True

    def _alone(self, entry: Entry) -> None:
        with self._database.write() as connection:
            run = self._execute(connection, RUN, self._run(0, entry.counts)).first()
            if run is None:
                raise LeaseLostError(self._claim.batch_id)
            cancelled, _, *now = run
            if cancelled is not None and entry.begins:
                entry.refused = True
                return
            for write in entry.writes:
                if write.optional:
                    with best_effort(connection, write.optional):
                        self._each(connection, write)
                else:
                    self._each(connection, write)
            if self._is_due(now, entry.counts):
                self._execute(connection, COUNTED, self._counted(now))
            _outcomes_written([entry])
            if entry.event is not None:
                with best_effort(connection, f"batch {self._claim.batch_id}: event"):
                    _, next_sequence, *_ = self._execute(connection, RUN, self._run(1, (0, 0, 0, 0))).one()
                    self._execute(connection, EVENT, (next_sequence - 1, *entry.event(utc_now())))

    def _each(self, connection: Connection, write: Write) -> None:
        for row in write.rows:
            changed = self._execute(connection, write.statement, row)
            if write.guarded and changed.rowcount != 1:
                is_stored = self._execute(connection, STORED, (*row[:4], *row[-2:])).first() is not None
                raise _StoredError if is_stored else LeaseLostError(self._claim.batch_id)

    def _execute(self, connection: Connection, statement: Statement, parameters: Parameters) -> Any:
        return connection.exec_driver_sql(statement.for_driver(self._database.dialect), parameters)

    def _run(self, events: int, counts: tuple[int, ...]) -> Parameters:
        return events, *counts, self._claim.batch_id, self._claim.holder_token

    # --- The counts that old readers see ----------------------------------------------------------------------------

    def _total(self) -> int:
        with self._database.read() as connection:
            query = select(BatchExecution.total_documents).where(BatchExecution.id == self._claim.batch_id)
            return connection.execute(query).scalar_one()

    def _is_due(self, now: list[int], added: tuple[int, ...]) -> bool:
        """Return whether the batch's old row gets the counts now. At its end it gets them all the same."""
        finished, more = now[0] + now[1], added[0] + added[1]
        return finished // self._step > (finished - more) // self._step

    def _counted(self, now: list[int]) -> Parameters:
        return *now, self._moment(utc_now()), self._claim.batch_id


def _outcomes_written(entries: list[Entry]) -> None:
    for entry in entries:
        if entry.succeeds:
            fault_point("outcome-written")


class _StoredError(Exception):
    """The entry is stored already: the transaction before was committed, and its answer was lost with the connection."""


class _CancelledError(Exception):
    """An attempt is to begin and the batch to end."""
