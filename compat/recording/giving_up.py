"""A batch given up by a run that can't go on: its row says `failed` and why, as soon as the store answers again."""

import atexit
import logging
import time
from threading import Event, Thread

from compat.errors import BatchInfrastructureError, KnowledgeBatchError
from compat.store import Claim, Store

log = logging.getLogger("knowledge_batch")

# How long the caller waits for the row, in seconds: a store that answers takes milliseconds.
CALLER_SECONDS = 1.0
# How long the interpreter's exit waits for all rows together.
EXIT_SECONDS = 5.0
# How long a store that is away is asked again, and the pause between two times. Where it stays away for longer, or this
# process ends before, the lease tells that the batch is dead, and its reason is lost.
WATCH_SECONDS = 300.0
LOOK_SECONDS = 0.2


class _GivingUp:
    """One batch on its way to `failed`."""

    def __init__(self, store: Store, claim: Claim, reason: str) -> None:
        self.store = store
        self.claim = claim
        self.reason = reason
        self.over = Event()
        self._look = Event()

    def start(self) -> None:
        # A daemon: a store that accepts and never answers must not keep the process.
        Thread(target=self._work, name=f"give up {self.claim.batch_id}", daemon=True).start()

    def wait(self, seconds: float) -> None:
        """Have the store asked now, and wait for its answer."""
        self._look.set()
        self.over.wait(seconds)

    def _work(self) -> None:
        until = time.monotonic() + WATCH_SECONDS
        try:
            while not self._is_written() and time.monotonic() < until:
                self._look.wait(LOOK_SECONDS)
                self._look.clear()
        finally:
            _PENDING.discard(self)
            self.over.set()

    def _is_written(self) -> bool:
        try:
            self.store.fail(self.claim, self.reason)
        except BatchInfrastructureError:
            log.debug("batch %s: that it failed could not be stored yet", self.claim.batch_id, exc_info=True)
            return False
        except KnowledgeBatchError:
            # Nothing of it is there any more.
            log.warning("batch %s: that it failed could not be stored", self.claim.batch_id, exc_info=True)
        return True


# The batches whose rows this process still has to write.
_PENDING: set[_GivingUp] = set()


def give_up(store: Store, claim: Claim, reason: str, seconds: float = CALLER_SECONDS) -> None:
    """End the batch as failed, from where it can be resumed. Never raises, and returns within ``seconds``.

    Where the store is away, it is asked again in the background. A claim that no longer holds changes nothing.
    """
    giving_up = _GivingUp(store, claim, reason)
    _PENDING.add(giving_up)
    giving_up.start()
    giving_up.over.wait(seconds)


def go_on(batch_id: str) -> str:
    """Return the advice at the end of an error text: how to resume the batch."""
    return f"go on with knowledge-batch resume {batch_id}"


def wait_for_giving_up(batch_id: str) -> None:
    """Wait until this process has given up a batch, so that it can be taken again. Returns within ``CALLER_SECONDS``."""
    for giving_up in list(_PENDING):
        if giving_up.claim.batch_id == batch_id:
            giving_up.wait(CALLER_SECONDS)


@atexit.register
def finish_giving_up() -> None:
    """Wait until this process has finished giving up all of its batches. Returns within ``EXIT_SECONDS``."""
    until = time.monotonic() + EXIT_SECONDS
    for giving_up in list(_PENDING):
        giving_up.wait(max(0.0, until - time.monotonic()))
