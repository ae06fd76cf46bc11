"""What takes the engine out of service by itself: one table of triggers, each with the checks that fire it. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compat.errors import HandedOverError
from compat.parity.risks import Risk
from compat.policy import ALL_FAILED, INTERRUPTED, terminal_status
from compat.status import TERMINAL, RowStatus

if TYPE_CHECKING:
    # Comparing loads pandas, which serving a batch never does.
    from compat.parity.report import ParityReport


# How the reports begin of shadows whose engine's machinery failed.
ENGINE_FAILED = "the engine failed on it"
_FIRST = "BatchEvent.BatchCreated"
_LAST = ("BatchEvent.BatchCompleted", "BatchEvent.BatchFailed")
_ENDS = ("BatchEvent.DocumentCompleted", "BatchEvent.DocumentFailed")


@dataclass(frozen=True)
class Served:
    """A batch that the engine had a hand in, as its rows tell it once it has ended.

    Attributes:
        batch_id: The batch.
        execution_id: The row that old readers know it by.
        status: What ``knowledge_batch_execution`` says.
        old_rows: What old readers find by the batch id: the id and status of each row, the newest first.
        unfinished_rows: Rows of its documents that still say `running`.
        error: Why it failed, where it did.
        rollback_reason: Why legacy took it from the engine, where it did.
        succeeded: Documents that were extracted.
        failed: Documents that failed for good.
        outcomes: The documents looked at that have an outcome.
        counted: Of the batch's row: extracted and failed documents.
        attempts_breach: What doesn't add up of the attempts at a document, if anything.
        events: Tag, document and payload of each event of the batch and of those documents, in their order.
    """

    batch_id: str
    execution_id: str
    status: str
    old_rows: tuple[tuple[str, str], ...]
    unfinished_rows: int
    error: str | None
    rollback_reason: str | None
    succeeded: int
    failed: int
    outcomes: frozenset[str]
    counted: tuple[int, int]
    attempts_breach: str | None
    events: tuple[tuple[str, str | None, Mapping[str, Any]], ...]


@dataclass(frozen=True)
class Trigger:
    """One reason to take the engine out of service.

    Attributes:
        name: What it is called on record.
        meaning: What went wrong, in words.
        risk: The risk of a shadow's report whose divergence fires it; None where none does.
        check: The check of a batch that the engine served: what is wrong with it, or None.
        hits: Batches that must show it,
        of: of this many last ones, shadows' and the engine's together.
        hand_over: Whether legacy also takes what the engine has in work; else the engine finishes it.
    """

    name: str
    meaning: str
    risk: Risk | None
    check: Callable[[Served], str | None]
    hits: int
    of: int
    hand_over: bool


def wrong_outcome(served: Served) -> str | None:
    """The batch's status or counts don't follow from its documents' outcomes."""
    if served.counted != (served.succeeded, served.failed):
        return f"its row counts {served.counted} extracted and failed documents, {(served.succeeded, served.failed)} are stored"
    has_all_failed = terminal_status(served.succeeded, served.failed) == "failed"
    said = served.status == RowStatus.FAILED and served.error == ALL_FAILED
    if has_all_failed != said and (said or served.status == RowStatus.COMPLETED):
        return f"it is {served.status} with {served.succeeded} documents extracted and {served.failed} failed"
    return None


def second_owner(served: Served) -> str | None:
    """A document has attempts beyond its budget, or its outcome counts others than are on record."""
    return served.attempts_breach


def wrong_status(served: Served) -> str | None:
    """Rows of the batch disagree, or say running of a batch that has ended."""
    said = served.old_rows[0][1] if served.old_rows else served.status
    if served.status not in TERMINAL or said != served.status:
        return f"old readers are told {said}, the batch's own row says {served.status}"
    return f"{served.unfinished_rows} rows of its documents still say running" if served.unfinished_rows else None


def failed_lookup(served: Served) -> str | None:
    """An old reader who knows the batch id doesn't find exactly its row."""
    found = [row_id for row_id, _ in served.old_rows]
    return None if found == [served.execution_id] else f"by its id old readers find {len(found)} rows, not its own one alone"


def event_drift(served: Served) -> str | None:
    """The events don't begin with created and stop at one end, or a document's outcome has no event."""
    tags = [tag for tag, _, _ in served.events]
    if tags == [_LAST[1]] and not served.outcomes:
        # It ended before it began: its process died, or it was cancelled.
        return None
    if not tags or tags[0] != _FIRST or tags[-1] not in _LAST or sum(tag in _LAST for tag in tags) != 1:
        return f"its events go from {tags[0]} to {tags[-1]}" if tags else "it has no events"
    begun: set[str | None] = set()
    ended: set[str | None] = set()
    for tag, document_id, _ in served.events:
        if tag == "BatchEvent.DocumentStarted":
            begun.add(document_id)
        elif tag in _ENDS:
            if document_id not in begun:
                return f"document {document_id} ends before it starts"
            ended.add(document_id)
    missing = served.outcomes - ended
    if missing:
        return f"document {min(missing)} has an outcome and no event of it"
    tag, _, payload = served.events[-1]
    if tag == "BatchEvent.BatchCompleted" and payload.get("totalDocuments") != served.succeeded + served.failed:
        return (
            f"its last event counts {payload.get('totalDocuments')} documents, {served.succeeded + served.failed} have outcomes"
        )
    return None


def failed_infrastructure(served: Served) -> str | None:
    """Prefect failed during the batch, whether or not legacy then finished it."""
    reason = served.rollback_reason
    if reason is not None:
        return None if reason.startswith(HandedOverError.__name__) else f"rolled back: {reason}"
    failed = served.status == RowStatus.FAILED and served.error is not None
    if failed and served.error is not None and served.error.startswith(("batch_", "Flow run ", "EngineError", "PrefectUn")):
        return served.error
    return None


def lost_lease(served: Served) -> str | None:
    """The process that served it died, or couldn't renew its lease."""
    return served.error if (served.error or "").startswith(f"{INTERRUPTED}: no heartbeat") else None


TRIGGERS: Sequence[Trigger] = (
    Trigger("policy-outcome", "a batch ended otherwise than its failure policy says", "R1", wrong_outcome, 1, 20, True),
    Trigger("second-owner", "a document was tried by a second owner of retries", "R2", second_owner, 1, 20, True),
    Trigger("status", "a status is missing or wrong for old readers", "R3", wrong_status, 1, 20, True),
    Trigger("lookup", "another process doesn't find the batch by its id", "R4", failed_lookup, 1, 20, True),
    Trigger("event-drift", "events are missing, late or out of order", "R7", event_drift, 1, 20, False),
    Trigger("infrastructure", "Prefect failed", None, failed_infrastructure, 3, 20, True),
    Trigger("lost-lease", "processes lost their batches", None, lost_lease, 2, 20, False),
)


@dataclass(frozen=True)
class Firing:
    """A trigger that fired, and the batches that fired it, the newest first, each with what was found of it."""

    trigger: Trigger
    batches: Mapping[str, str]

    @property
    def reason(self) -> str:
        """Why the engine is demoted, in one line."""
        first = next(iter(self.batches))
        counted = f"{len(self.batches)} of the last {self.trigger.of} batches" if self.trigger.hits > 1 else f"batch {first}"
        return f"{self.trigger.name}: {self.trigger.meaning} ({counted}): {self.batches[first]}"


def findings_of(served: Served) -> dict[str, str]:
    """Return what is wrong with a batch that the engine served, by trigger."""
    found = {trigger.name: trigger.check(served) for trigger in TRIGGERS}
    return {name: text for name, text in found.items() if text is not None}


def findings_of_shadow(report: "ParityReport") -> dict[str, str]:
    """Return what is wrong with the shadow of a batch, by trigger."""
    if report.verdict != "diverged":
        return {}
    if report.headline.startswith(ENGINE_FAILED):
        return {"infrastructure": report.headline}
    look = f"{report.headline}; look at: knowledge-batch parity show {report.report_id}"
    return {trigger.name: look for trigger in TRIGGERS if trigger.risk is not None and report.counts.get(trigger.risk)}


def fired(checks: Sequence[tuple[str, Mapping[str, str]]]) -> Firing | None:
    """Return the first trigger that fires on the last batches' findings, the newest first, or None.

    ``checks`` are pairs of a batch id and what was found of it by trigger.
    """
    for trigger in TRIGGERS:
        hits = {name: found[trigger.name] for name, found in checks[: trigger.of] if trigger.name in found}
        if len(hits) >= trigger.hits:
            return Firing(trigger, hits)
    return None
