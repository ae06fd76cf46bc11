"""The failure policies (CONTRACT 4) as one table, and the arithmetic that follows from it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from compat.contracts import BatchConfig, FailurePolicy

ACTIVITY_NAME = "run_extraction_pipeline"
RESOLUTION_NAME = "resolve_entities"
# Waits of the owner `activity` before its retries, as multiples of KNOWLEDGE_RETRY_BASE_SECONDS.
ACTIVITY_WAITS = (1.0, 2.0, 4.0)
ALL_FAILED = "All documents failed"
CANCELLED_BY_USER = "Batch cancelled by user"
# How every reason begins for which a batch ended before it was done, and can go on.
INTERRUPTED = "Interrupted"

RetryOwner = Literal["activity", "orchestrator"]


@dataclass(frozen=True)
class RetryPolicy:
    """Who retries a document, how often, after which waits (seconds), and whether documents go one at a time."""

    owner: RetryOwner
    delays: tuple[float, ...]
    sequential: bool = False

    @property
    def retries(self) -> int:
        """How many attempts may follow the first."""
        return len(self.delays)

    @property
    def attempts(self) -> int:
        """The most attempts a document gets: its budget."""
        return 1 + self.retries


# Rules by policy: owner, and one document at a time or not.
_RULES: Mapping[FailurePolicy, tuple[RetryOwner, bool]] = {
    FailurePolicy.CONTINUE: ("activity", False),
    FailurePolicy.ABORT_ALL: ("activity", True),
    FailurePolicy.RETRY_FAILED: ("orchestrator", False),
}


def retry_owner(policy: str) -> RetryOwner:
    """Return who retries a document under a failure policy."""
    return _RULES[FailurePolicy(policy)][0]


def retry_policy(config: BatchConfig, base_seconds: float = 1.0) -> RetryPolicy:
    """Return the retry policy of a batch."""
    owner, sequential = _RULES[config.failure_policy]
    delays = (0.0,) * config.max_retries if owner == "orchestrator" else tuple(wait * base_seconds for wait in ACTIVITY_WAITS)
    return RetryPolicy(owner, delays, sequential)


def next_round(attempts: Mapping[str, int]) -> list[str]:
    """Return the documents that retry-failed tries next: those with the fewest finished attempts, in the given order.

    ``attempts`` has every document without an outcome. By the fewest, rounds hold where a batch goes on elsewhere too.
    """
    fewest = min(attempts.values(), default=0)
    return [document_id for document_id, finished in attempts.items() if finished == fewest]


def terminal_status(successes: int, failures: int) -> Literal["completed", "failed"]:
    """Return a batch's terminal status: failed only if every document that was tried failed."""
    return "failed" if failures and not successes else "completed"
