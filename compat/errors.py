"""The named errors (CONTRACT 7) as a tree: four branches to catch, each with its exit code, each error with what to do next.

A class names its fields once, as annotations; its constructor takes them in that order. ``str`` of an error is its message.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import fields as fields_of
from enum import IntEnum
from inspect import get_annotations
from typing import Any, ClassVar, Self, dataclass_transform

from compat.keepable import text_of
from compat.proxies import proxy_of


class Exit(IntEnum):
    """The exit codes of the command."""

    COMPLETED = 0
    FAILED = 1
    BAD_INPUT = 2
    ALREADY_RUNNING = 3
    INFRASTRUCTURE = 4
    NOT_FOUND = 5
    CANCELLED = 6


@dataclass_transform(eq_default=False)
class KnowledgeBatchError(Exception):
    """Base of every error that this package raises on purpose.

    ``terminal`` says that trying again can't help; both runtimes read it and don't retry.
    Any other exception, an extractor's own included, is transient unless it carries a true
    ``terminal`` attribute of its own.
    """

    terminal: ClassVar[bool] = True
    exit_code: ClassVar[Exit] = Exit.FAILED

    # The fields of the error, in the order of its constructor.
    fields: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        """Make the constructor from the class's annotations, as a dataclass has it; a class that writes its own keeps it."""
        if get_annotations(cls) and "__init__" not in cls.__dict__:
            # Without eq: an error is equal to itself alone.
            dataclass(eq=False)(cls)
            cls.fields = tuple(field.name for field in fields_of(cls))  # type: ignore[arg-type]

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), tuple(getattr(self, name) for name in self.fields)

    @classmethod
    def from_stored(cls, values: Sequence[Any]) -> Self:
        """Return the error whose fields came back from the store."""
        return cls(*values)


# --- Branches ---------------------------------------------------------------------------------------------------------


class Refused(KnowledgeBatchError):
    """What was asked for can't be done as it was asked; the caller changes the request."""

    exit_code = Exit.BAD_INPUT


class Conflict(KnowledgeBatchError):
    """Somebody else has the batch now."""

    exit_code = Exit.ALREADY_RUNNING


class NotFound(KnowledgeBatchError):
    """What was asked for is not stored here."""

    exit_code = Exit.NOT_FOUND


class Infrastructure(KnowledgeBatchError):
    """Something around the documents failed; the same call may succeed later."""

    terminal = False
    exit_code = Exit.INFRASTRUCTURE


# --- Refused ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with an input: where, what stood there, and how to mend it."""

    field: str
    value: object
    advice: str

    def __str__(self) -> str:
        text = text_of(self.value, repr)
        shown = text if len(text) <= 80 else text[:77] + "..."
        return f"{self.field} = {shown}: {self.advice}"


class InvalidInputError(Refused, ValueError):
    """The caller's input is refused; nothing was written. ``problems`` names every field at fault."""

    problems: Sequence[Problem]

    def __post_init__(self) -> None:
        self.problems = tuple(self.problems)

    def __str__(self) -> str:
        return "; ".join(map(str, self.problems))

    @classmethod
    def from_stored(cls, values: Sequence[Any]) -> Self:
        """Return the error; its problems were stored as their fields."""
        return cls([Problem(**problem) for problem in values[0]])


class InvalidStateTransitionError(Refused):
    """The batch can't go from the state it is in to the one that was asked for."""

    batch_id: str
    current_state: str
    attempted_state: str
    hint: str | None = None

    def __str__(self) -> str:
        hint = self.hint or f"knowledge-batch status {self.batch_id} shows where it stands"
        return f"Batch {self.batch_id} is {self.current_state} and can't become {self.attempted_state}; {hint}"


class OtherInputError(InvalidStateTransitionError):
    """The batch id was used with other input before."""

    attempted_state: str = "Pending"
    hint: str | None = "this id was used with other input; choose another batch id"


class OntologyParseError(Refused):
    """An ontology that can't be read. Terminal: the same text won't parse next time either."""

    message: str
    format: str = "turtle"
    cause: str = ""

    def __str__(self) -> str:
        return self.message


class ExtractorNotFoundError(Refused):
    """``KNOWLEDGE_EXTRACTOR`` names an extractor that can't be loaded."""

    name: str
    reason: str

    def __str__(self) -> str:
        return (
            f"KNOWLEDGE_EXTRACTOR = {self.name!r} can't be loaded: {self.reason}; "
            "set it to rules, or to package.module:factory of something importable"
        )


# --- Conflict ---------------------------------------------------------------------------------------------------------


class BatchAlreadyRunningError(Conflict):
    """Another run holds this batch; its lease is alive."""

    batch_id: str

    def __str__(self) -> str:
        return (
            f"Batch {self.batch_id} is running; wait for it (knowledge-batch events {self.batch_id} --follow) "
            f"or cancel it (knowledge-batch cancel {self.batch_id})"
        )


class LeaseLostError(Conflict):
    """This run no longer holds the batch: it was taken over, or has ended. It must write nothing more."""

    batch_id: str

    def __str__(self) -> str:
        return f"Batch {self.batch_id} is no longer held by this run; knowledge-batch status {self.batch_id} tells who has it"


class HandedOverError(Conflict):
    """A demotion takes the batch from the engine before all was done; legacy goes on with it."""

    batch_id: str

    def __str__(self) -> str:
        return f"Batch {self.batch_id} is handed over to legacy, since the engine is demoted; knowledge-batch mode show says why"


# --- Not found --------------------------------------------------------------------------------------------------------


class BatchNotFoundError(NotFound):
    """No batch of this id is stored."""

    batch_id: str

    def __str__(self) -> str:
        return f"No batch {self.batch_id} is stored here; knowledge-batch list shows what is"


class WorkflowNotFoundError(NotFound):
    """No execution row of this id."""

    execution_id: str

    def __str__(self) -> str:
        return f"No execution {self.execution_id} is stored here; knowledge-batch list shows the batches that are"


# --- Infrastructure ---------------------------------------------------------------------------------------------------

# What to do next, by the operation that failed; after any other one, the batch is stored and can be resumed.
_NEXT = {
    "batch_create_execution": "see that the database at KNOWLEDGE_DATABASE_URL runs, then start the batch again",
    "batch_get_status": "see that the database at KNOWLEDGE_DATABASE_URL runs, then ask again",
}


class BatchInfrastructureError(Infrastructure):
    """Something around the documents failed (database, Prefect): what finished is kept, and the batch can be resumed."""

    batch_id: str
    operation: str
    reason: str
    hint: str | None = None

    def __str__(self) -> str:
        following = f"what finished is stored, go on with knowledge-batch resume {self.batch_id}"
        hint = self.hint or _NEXT.get(self.operation, following)
        return f"Batch {self.batch_id}: {self.operation} failed: {self.reason}; {hint}"


class StoreUnavailableError(Infrastructure):
    """The database failed outside the work on a single batch. ``reason`` is its first cause, in one line."""

    reason: str

    def __str__(self) -> str:
        return f"The database at KNOWLEDGE_DATABASE_URL failed: {self.reason}; see that it runs, then try again"


class UnkeepableDataError(Infrastructure):
    """The database works, but refuses a value that was to be written. ``reason`` is its first cause, in one line."""

    reason: str

    def __str__(self) -> str:
        return f"The database at KNOWLEDGE_DATABASE_URL can't keep what was to be written: {self.reason}; mend what made it"


class SchemaVersionError(Infrastructure):
    """The database's tables have another version than this code. ``found`` is None where there are none."""

    terminal = True
    namespace: str
    found: str | None
    wanted: str

    def __str__(self) -> str:
        if self.found is None or self.found < self.wanted:
            has = f"has schema {self.found}" if self.found else "has no tables of knowledge-batch"
            what = f"{has} and this code wants {self.wanted}; run: knowledge-batch db upgrade"
        else:
            what = f"has schema {self.found}, written by a newer knowledge-batch than this one ({self.wanted}); install that one"
        return f"The database at KNOWLEDGE_DATABASE_URL ({self.namespace}) {what}"


class HomeUnavailableError(Infrastructure):
    """The folder KNOWLEDGE_HOME, or one in it, can't be made or written."""

    terminal = True
    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path} can't be written: {self.reason}; name a folder that can be with KNOWLEDGE_HOME"


class PrefectUnavailableError(Infrastructure):
    """Prefect's API can't be reached, or refuses what was asked of it."""

    api: str
    reason: str

    def __str__(self) -> str:
        proxy = proxy_of(self.api)
        through = f", asked through the proxy {proxy}," if proxy else ""
        return (
            f"Prefect's API at {self.api}{through} failed: {self.reason}; "
            "start a server (knowledge-batch up) or mend PREFECT_API_URL, then try again"
        )


# --- A document's failures, which end no call -------------------------------------------------------------------------


class ActivityFailedError(KnowledgeBatchError):
    """A document's activity failed for good, on its attempt number ``attempt`` (from 1)."""

    execution_id: str
    activity_name: str
    attempt: int
    cause: str

    def __str__(self) -> str:
        return (
            f"{self.activity_name} of {self.execution_id} failed on attempt {self.attempt}: {self.cause}; "
            "mend the cause, then resume the batch"
        )


class ExtractorOutputError(KnowledgeBatchError):
    """An extractor's result isn't an ExtractionResult, or can't be stored. Transient: a model may do better next time."""

    terminal = False
    reason: str

    def __str__(self) -> str:
        return f"the extractor returned no ExtractionResult ({self.reason}); mend its factory, then resume the batch"


class AttemptStoppedError(KnowledgeBatchError):
    """Raised by an extractor that left a document because its batch is to end. It costs the document no attempt."""

    terminal = False

    def __str__(self) -> str:
        return "the batch is ending; what the extractor has so far is stored, resume the batch to go on"


class StopBatchError(KnowledgeBatchError):
    """Raised by an extractor that can't go on with the batch for now, through no fault of the document.

    It costs the document no attempt: no further one starts, the batch ends as failed with this reason, and can be resumed.
    """

    reason: str

    def __str__(self) -> str:
        return self.reason
