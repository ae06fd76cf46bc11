"""Named places between two writes, at which a test can end the process. In production nothing happens there."""

from collections.abc import Callable
from typing import Literal

# In the order of a batch's life. "written" is within a transaction, "committed" behind it.
FaultPoint = Literal[
    "claim-written",
    "taking-written",  # somebody takes the batch up: a resume, or the other runtime
    "claim-committed",
    "batch-begun",
    "attempt-started",
    "extracted",
    "outcome-written",  # and its event is not
    "outcome-committed",
    "failure-committed",
    "resolution-started",
    "merges-committed",  # and the merged graph is not
    "resolution-committed",
    "terminal-event-written",  # and the terminal status is not
    "end-committed",
]

_action: Callable[[FaultPoint], None] | None = None


def fault_point(name: FaultPoint) -> None:
    """Mark a place that a test can aim at."""
    if _action is not None:
        _action(name)


def aim(action: Callable[[FaultPoint], None] | None) -> None:
    """Call ``action`` at every fault point of this process from now on. For tests."""
    global _action
    _action = action
