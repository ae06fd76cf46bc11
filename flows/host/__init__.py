"""What surrounds a batch: nothing, or the Prefect flow run that it is served in. Imports Prefect only within one."""

import os
from dataclasses import dataclass
from typing import Protocol

from compat.private import STARTED_FOR, is_in_run


class Host(Protocol):
    """The surroundings of a batch, as far as the batch has to know them."""

    @property
    def flow_run_id(self) -> str | None:
        """The flow run whose end tells that this process has ended."""

    def is_cancelled(self) -> bool:
        """Return whether somebody cancelled the flow run. Asks Prefect's API, and raises what that raises."""


@dataclass(frozen=True)
class NoHost:
    """No flow run is around: nobody but the store can cancel the batch."""

    flow_run_id: None = None

    def is_cancelled(self) -> bool:
        """Return false: nobody could cancel it there."""
        return False


def find_host() -> Host:
    """Return what surrounds the caller, read from Prefect's own context; it doesn't matter what else was imported."""
    started_for = os.environ.get(STARTED_FOR)
    if not (is_in_run() or started_for):
        return NoHost()
    try:
        from flows.host.flow_run import FlowRunHost
    except ModuleNotFoundError:
        # A worker's child in an environment of its own, without Prefect.
        return NoHost()
    return FlowRunHost.find(started_for)
