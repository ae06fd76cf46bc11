"""A batch held by this process: the lease renewed in the background, a cancel noticed, an orderly stop."""

import logging
from collections.abc import Callable
from contextvars import copy_context
from threading import Event, Thread

from compat.errors import InvalidStateTransitionError, KnowledgeBatchError
from compat.store import Claim, Store
from compat.store.record import heartbeat_seconds

log = logging.getLogger("knowledge_batch")

# How long the end of a batch waits for its watcher, in seconds.
JOIN_SECONDS = 5.0


class StopRequest:
    """Asks a batch to stop: no document starts from then on, those in work finish. Remembered, however early it comes."""

    def __init__(self) -> None:
        self._asked = Event()
        self.reason: str | None = None

    def ask(self, reason: str | None = None) -> None:
        """Ask for the stop. With a reason the batch ends as interrupted by it; the first reason stands."""
        self.reason = self.reason or reason
        self._asked.set()

    @property
    def asked(self) -> bool:
        """Whether the batch is to stop."""
        return self._asked.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until the stop is asked for. Return whether it is."""
        return self._asked.wait(seconds)


class Lease:
    """One batch's lease. As a context manager it is renewed in the background; leaving it ends that, and nothing else."""

    def __init__(
        self,
        store: Store,
        claim: Claim,
        cancelled_elsewhere: Callable[[], bool] = lambda: False,
        stop: StopRequest | None = None,
    ) -> None:
        """Hold the lease of one claim.

        Args:
            store: Where the batch is.
            claim: Who holds it.
            cancelled_elsewhere: Whether somebody asked for the batch's end outside of the store. Called by the
                watcher; it may fail, which counts as no.
            stop: Where whoever serves the batch may ask it to stop.
        """
        self.store = store
        self.claim = claim
        self._cancelled_elsewhere = cancelled_elsewhere
        self._stop = stop or StopRequest()
        self._left = Event()
        self._handed_over = Event()
        self._watcher: Thread | None = None

    def __enter__(self) -> "Lease":
        # Whether it was cancelled elsewhere is asked with the settings of the flow run around.
        self._watcher = Thread(
            target=copy_context().run, args=(self._watch,), name=f"lease of {self.claim.batch_id}", daemon=True
        )
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        if self._watcher is not None:
            # A store that is away may hold it up for long; it renews nothing that others took.
            self._watcher.join(JOIN_SECONDS)

    def _watch(self) -> None:
        while not self._left.wait(heartbeat_seconds(self.store.lease_seconds)):
            try:
                signals = self.store.heartbeat(self.claim)
                if signals.cancel_requested or not signals.held:
                    self._stop.ask()
                elif signals.handed_over:
                    self._handed_over.set()
                elif self.is_cancelled_elsewhere():
                    self.store.cancel(self.claim.batch_id)
                    self._stop.ask()
            except InvalidStateTransitionError:
                # It ended in the meantime.
                return
            except KnowledgeBatchError:
                # What is away for a moment must not end the batch. A database that stays away ends it
                # at the next write, or by the lease.
                log.warning("batch %s: no heartbeat this time", self.claim.batch_id, exc_info=True)

    def is_cancelled_elsewhere(self) -> bool:
        """Return whether the batch's end was asked for outside of the store."""
        try:
            return self._cancelled_elsewhere()
        except Exception:
            # Whoever is asked may be away; the store is asked as well.
            log.debug("batch %s: whether it was cancelled elsewhere is not known", self.claim.batch_id, exc_info=True)
            return False

    def stop(self, reason: str | None = None) -> None:
        """Let no document start from now on; those in work finish. With a reason the batch ends as interrupted by it."""
        self._stop.ask(reason)

    @property
    def stopping(self) -> bool:
        """Whether no further document may start."""
        return self._stop.asked or self._handed_over.is_set()

    @property
    def handed_over(self) -> bool:
        """Whether a demotion takes the batch from the engine. Nobody asked it to stop: legacy goes on with it."""
        return self._handed_over.is_set() and not self._stop.asked

    @property
    def interrupted(self) -> str | None:
        """What interrupts the batch, where something does."""
        return self._stop.reason

    def pause(self, seconds: float) -> None:
        """Wait, or return early where the batch is stopping."""
        self._stop.wait(seconds)
