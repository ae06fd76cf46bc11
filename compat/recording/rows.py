"""The rows of one attempt: what its beginning and its end write, made before any lock is taken."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from compat.contracts import BatchEvent, Entity, utc_now
from compat.ids import content_hash, extraction_id, mention_id
from compat.modes import Mode
from compat.policy import ACTIVITY_NAME, RetryPolicy
from compat.status import RowStatus
from compat.store import Claim
from compat.store.schema import BatchEventRow, DocumentOutcome, MentionRecord, TapeRow, WorkflowActivity, WorkflowExecution
from compat.store.schema.statements import Parameters, Statement, as_json, insert, insert_or_ignore, update, upsert
from compat.stored_errors import StoredError

_COMMON = (
    "id",
    "organization_id",
    "status",
    "input",
    "output",
    "error",
    "started_at",
    "completed_at",
    "created_at",
    "updated_at",
)
_ENDED = ("status", "output", "error", "completed_at", "updated_at")
_SETTLED = ("outcome", "attempts", "started_at", "ended_at")
_ERROR = ("error_class", "error_message", "error_terminal", "error_args")
_OUTCOME = ("batch_id", "document_id")
_TAPED = (*_OUTCOME, "generation", "attempt", *_ERROR)
# An outcome is written once.
_OPEN = "outcome IS NULL"

STANDING = insert_or_ignore(DocumentOutcome, (*_OUTCOME, "position", "generation", "attempts"))
EXECUTION = upsert(
    WorkflowExecution, (*_COMMON, "workflow_type", "last_activity_name", "retry_count"), keep=("created_at", "started_at")
)
ACTIVITY = upsert(WorkflowActivity, (*_COMMON, "execution_id", "activity_name", "attempt", "duration_ms"), keep=("created_at",))
EXECUTION_END = update(WorkflowExecution, _ENDED, ("id",))
ACTIVITY_END = update(WorkflowActivity, (*_ENDED, "duration_ms"), ("id",))
SUCCEEDED = update(DocumentOutcome, (*_SETTLED, "extraction"), _OUTCOME, _OPEN)
FAILED = update(DocumentOutcome, (*_SETTLED, *_ERROR), _OUTCOME, _OPEN)
TAPE = insert_or_ignore(TapeRow, _TAPED)
MENTION = insert(
    MentionRecord,
    (
        "id", "organization_id", "created_at", "updated_at", "extraction_id", "document_id", "chunk_index", "raw_text",
        "mention_type", "confidence", "response_hash", "extracted_at",
    ),
)  # fmt: skip
# An event's row but for its sequence number, by the moment at which it is written.
EventRow = Callable[[datetime], Parameters]
EVENT = insert_or_ignore(BatchEventRow, ("sequence", "batch_id", "key", "document_id", "payload", "superseded", "created_at"))


@dataclass(frozen=True)
class Begun:
    """An attempt that is under way."""

    number: int
    generation: int
    document_id: str
    position: int
    text: str
    ontology: str
    execution_id: str
    activity_id: str
    at: datetime


@dataclass(frozen=True)
class Write:
    """A statement and its rows. ``optional`` says what is missing where the database refuses it; else that is an error.

    ``guarded``: every row has to change exactly one, or the batch is in other hands.
    """

    statement: Statement
    rows: list[Parameters]
    optional: str | None = None
    guarded: bool = False


class Rows:
    """Makes the rows of one batch's attempts. ``moment`` turns a moment into what the driver takes."""

    def __init__(self, claim: Claim, policy: RetryPolicy, moment: Callable[[datetime], Any]) -> None:
        self._claim = claim
        self._policy = policy
        self._moment = moment

    def start(self, begun: Begun, is_new: bool) -> list[Write]:
        """Return what the beginning of an attempt writes; ``is_new``: the document has no outcome row yet."""
        claim, now = self._claim, self._moment(begun.at)
        # The orchestrator's own count of what it retried; the activity's retries happen inside its one try.
        retried = begun.number - 1 if self._policy.owner == "orchestrator" else 0
        common = {
            "organization_id": claim.organization_id,
            "status": RowStatus.RUNNING.value,
            "output": None,
            "error": None,
            "started_at": now,
            "completed_at": None,
            "created_at": now,
            "updated_at": now,
        }
        execution = {
            **common,
            "id": begun.execution_id,
            "workflow_type": "extraction",
            "input": as_json(
                {
                    "documentId": begun.document_id,
                    "organizationId": claim.organization_id,
                    "ontologyId": claim.ontology_id,
                    "textLength": len(begun.text),
                    "retryOwner": self._policy.owner,
                    "retryAttempt": retried,
                }
            ),
            "last_activity_name": ACTIVITY_NAME,
            "retry_count": begun.number - 1,
        }
        read = {"documentId": begun.document_id, "textLength": len(begun.text), "generation": begun.generation}
        activity = {
            **common,
            "id": begun.activity_id,
            "execution_id": begun.execution_id,
            "activity_name": ACTIVITY_NAME,
            "input": as_json(read),
            "attempt": begun.number,
            "duration_ms": None,
        }
        standing = (claim.batch_id, begun.document_id, begun.position, 0, 0)
        return [
            *([Write(STANDING, [standing])] if is_new else []),
            Write(EXECUTION, [EXECUTION.parameters(execution)], optional=self._of(begun, "execution row")),
            Write(ACTIVITY, [ACTIVITY.parameters(activity)]),
        ]

    def success(
        self, begun: Begun, duration_ms: int, counts: dict[str, int], extraction: str, entities: Iterable[Entity]
    ) -> list[Write]:
        """Return what the end of an attempt that succeeded writes; ``extraction`` is its JSON, ``counts`` its row's output."""
        now = self._moment(utc_now())
        settled = ("succeeded", begun.number, self._moment(begun.at), now, extraction)
        return [
            *self._end(begun, RowStatus.COMPLETED, duration_ms, now, output=as_json(counts)),
            Write(SUCCEEDED, [(*settled, self._claim.batch_id, begun.document_id)], guarded=True),
            Write(MENTION, self._mentions(begun, now, entities)),
        ]

    def failure(self, begun: Begun, duration_ms: int, error: StoredError, ended: bool) -> list[Write]:
        """Return what the end of an attempt that failed writes; ``ended``: its document gets no further one."""
        claim, now = self._claim, self._moment(utc_now())
        stored = (error.class_path, error.message, error.terminal, as_json(list(error.args)))
        outcome = "failed" if ended else None
        settled = (outcome, begun.number, self._moment(begun.at), now, *stored)
        writes = [
            *self._end(begun, RowStatus.FAILED, duration_ms, now, error=error.text, ended=ended),
            Write(FAILED, [(*settled, claim.batch_id, begun.document_id)], guarded=True),
        ]
        if claim.mode == Mode.SHADOW:
            # The shadow replays the errors that the extractor raised. The batch goes on if this can't be stored.
            taped = (claim.batch_id, begun.document_id, begun.generation, begun.number, *stored)
            writes.append(Write(TAPE, [taped], optional=self._of(begun, "tape")))
        return writes

    def event(self, kind: str, begun: Begun, event: BatchEvent) -> EventRow:
        """Return what makes an event's row of a moment, but for its sequence number, which comes first.

        The moment is that of the transaction: numbers and moments have to run in one order, whichever thread comes first.
        """
        # Owner `activity`: one of each a document, however many attempts. Owner `orchestrator`: one of each an attempt.
        attempt = f":{begun.number}" if self._policy.owner == "orchestrator" else ""
        key = f"{kind}:{begun.document_id}:{begun.generation}{attempt}"

        def row(now: datetime) -> Parameters:
            payload = event.model_copy(update={"timestamp": now}).model_dump_json()
            return event.batch_id, key, begun.document_id, payload, False, self._moment(now)

        return row

    def _end(
        self,
        begun: Begun,
        status: RowStatus,
        duration_ms: int,
        now: Any,
        *,
        output: str | None = None,
        error: str | None = None,
        ended: bool = True,
    ) -> list[Write]:
        row = (status.value, output, error, now, now)
        writes = [Write(ACTIVITY_END, [(*row, duration_ms, begun.activity_id)])]
        if ended or self._policy.owner == "orchestrator":
            writes.append(Write(EXECUTION_END, [(*row, begun.execution_id)], optional=self._of(begun, "execution row")))
        return writes

    def _mentions(self, begun: Begun, now: Any, entities: Iterable[Entity]) -> list[Parameters]:
        extraction = extraction_id(self._claim.batch_id, begun.document_id)
        return [
            (
                mention_id(extraction, entity.id, number), self._claim.organization_id, now, now, extraction, begun.document_id,
                mention.chunk_index, mention.text, entity.types[0] if entity.types else mention.suggested_type,
                mention.confidence, content_hash(mention.model_dump_json()), now,
            )
            for entity in entities
            for number, mention in enumerate(entity.mentions)
        ]  # fmt: skip

    def _of(self, begun: Begun, what: str) -> str:
        return f"batch {self._claim.batch_id}, document {begun.document_id}: its {what}"
