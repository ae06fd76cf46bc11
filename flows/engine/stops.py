"""What SIGTERM and Ctrl-C mean while a batch runs: no new document, those in work finish, the batch can be resumed."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from compat.errors import KnowledgeBatchError
from compat.recording.lease import live_leases

# Documents that are in work get this long; then the process ends without their outcome. Prefect's
# workers and most supervisors kill after 10 s or more.
GRACE_SECONDS = 8.0


@contextmanager
def stops_on_signals(before_exit: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Stops the batches of this process in order when it is told to end, then lets it end.

    Leaves alone what the program handles itself, and does nothing outside of the main thread,
    where Python delivers no signals. ``before_exit`` is called before the process ends by force.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[signal.Signals] = []
    giving_up = threading.Timer(GRACE_SECONDS, lambda: _end_by_force(received[0], before_exit))
    giving_up.daemon = True

    def stop(number: int, frame: FrameType | None) -> None:
        if not received:
            received.append(signal.Signals(number))
            for lease in live_leases():
                lease.stop(f"Interrupted by {received[0].name}")
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


def _is_free(handler: object) -> bool:
    """Whether the program leaves a signal to Python or to Prefect, whose handler aborts a flow run where it stands."""
    ours_to_take = (signal.SIG_DFL, signal.default_int_handler)
    return handler in ours_to_take or getattr(handler, "__module__", "").startswith("prefect.")


def _end_by_force(received: signal.Signals, before_exit: Callable[[], None]) -> None:
    for lease in live_leases():
        try:
            lease.store.fail(lease.claim, f"Interrupted by {received.name}; {_go_on(lease.claim.batch_id)}")
        except KnowledgeBatchError:
            # The lease will tell.
            continue
    before_exit()
    os._exit(128 + received)


def _go_on(batch_id: str) -> str:
    return f"go on with knowledge-batch resume {batch_id}"
