"""What SIGTERM and Ctrl-C mean while a batch runs: no new document, those in work finish, the batch can be resumed."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from compat.private import is_prefects
from compat.recording.giving_up import finish_giving_up, give_up, go_on
from compat.recording.lease import StopRequest
from compat.store import Claim, Store

# Documents that are in work get this long; then the process ends without their outcome. Prefect's
# workers and most supervisors kill after 10 s or more.
GRACE_SECONDS = 8.0


class ProcessStops:
    """The batches that this process serves, and how each is asked to stop. One object a process: ``STOPS``."""

    def __init__(self) -> None:
        self._served: dict[StopRequest, tuple[Store, Claim]] = {}
        self._before_exit: list[Callable[[], None]] = []

    @contextmanager
    def heeded(self, stop: StopRequest, store: Store, claim: Claim) -> Iterator[None]:
        """Ask the batch to stop when the process is told to end while the block runs, then let the process end."""
        self._served[stop] = (store, claim)
        try:
            with self.taken():
                yield
        finally:
            del self._served[stop]

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Take SIGTERM and SIGINT while the block runs; within a flow run, back from Prefect, which would drop its documents.

        Leaves alone what the program handles itself, and does nothing outside of the main thread, where Python delivers
        no signals.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        received: list[signal.Signals] = []
        giving_up = threading.Timer(GRACE_SECONDS, lambda: self._end_by_force(received[0]))
        giving_up.daemon = True

        def stop(number: int, _frame: FrameType | None) -> None:
            if not received:
                received.append(signal.Signals(number))
                self.ask_all(f"Interrupted by {received[0].name}")
                giving_up.start()

        unhandled = [each for each in (signal.SIGTERM, signal.SIGINT) if _is_free(signal.getsignal(each))]
        before = {each: signal.signal(each, stop) for each in unhandled}
        try:
            yield
        finally:
            giving_up.cancel()
            for each, handler in before.items():
                signal.signal(each, handler)
        if received:
            if received[0] == signal.SIGINT:
                raise KeyboardInterrupt
            # Not by the signal itself: the interpreter still has an embedded server to stop.
            raise SystemExit(128 + received[0])

    def ask_all(self, reason: str) -> None:
        """Ask every batch that this process serves to stop, for this reason."""
        for request in list(self._served):
            request.ask(reason)

    def before_exit(self, call: Callable[[], None]) -> None:
        """Call this before the process ends by force, where exit handlers are not run."""
        if call not in self._before_exit:
            self._before_exit.append(call)

    def _end_by_force(self, received: signal.Signals) -> None:
        for store, claim in list(self._served.values()):
            give_up(store, claim, f"Interrupted by {received.name}; {go_on(claim.batch_id)}", seconds=0)
        finish_giving_up()
        for call in self._before_exit:
            call()
        os._exit(128 + received)


STOPS = ProcessStops()


def _is_free(handler: object) -> bool:
    """Whether the program leaves a signal to Python or to Prefect, whose handler aborts a flow run where it stands."""
    ours_to_take = (signal.SIG_DFL, signal.default_int_handler)
    return handler in ours_to_take or is_prefects(handler)
