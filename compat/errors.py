"""The named errors (CONTRACT 7), each terminal or transient, each ending with what to do next."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import ClassVar


class KnowledgeBatchError(Exception):
    """Base of every error that this package raises on purpose.

    ``terminal`` says that trying again can't help; both runtimes read it and don't retry.
    Any other exception, an extractor's own included, is transient unless it carries a true
    ``terminal`` attribute of its own.
    """

    terminal: ClassVar[bool] = True

    # The fields of the error, in the order of its constructor.
    fields: ClassVar[tuple[str, ...]] = ()

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), tuple(getattr(self, name) for name in self.fields)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with an input: where, what stood there, and how to mend it."""

    field: str
    value: object
    advice: str

    def __str__(self) -> str:
        shown = repr(self.value)
        if len(shown) > 80:
            shown = shown[:77] + "..."
        return f"{self.field} = {shown}: {self.advice}"


class InvalidInputError(KnowledgeBatchError, ValueError):
    """The caller's input is refused; nothing was written. ``problems`` names every field at fault."""

    fields = ("problems",)

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(str(problem) for problem in self.problems))


class SchemaVersionError(KnowledgeBatchError):
    """The database's tables are of another version than this code. ``found`` is None where there are none."""

    fields = ("namespace", "found", "wanted")

    def __init__(self, namespace: str, found: str | None, wanted: str) -> None:
        self.namespace = namespace
        self.found = found
        self.wanted = wanted
        if found is None or found < wanted:
            has = f"has schema {found}" if found else "has no tables of knowledge-batch"
            what = f"{has} and this code wants {wanted}; run: knowledge-batch db upgrade"
        else:
            what = f"has schema {found}, written by a newer knowledge-batch than this one ({wanted}); install that one"
        super().__init__(f"The database at KNOWLEDGE_DATABASE_URL ({namespace}) {what}")


class BatchAlreadyRunningError(KnowledgeBatchError):
    """Another run holds this batch; its lease is alive."""

    fields = ("batch_id",)

    def __init__(self, batch_id: str) -> None:
        self.batch_id = batch_id
        super().__init__(
            f"Batch {batch_id} is running; wait for it (knowledge-batch events {batch_id} --follow) "
            f"or cancel it (knowledge-batch cancel {batch_id})"
        )


class BatchNotFoundError(KnowledgeBatchError):
    """No batch of this id is stored."""

    fields = ("batch_id",)

    def __init__(self, batch_id: str) -> None:
        self.batch_id = batch_id
        super().__init__(f"No batch {batch_id} is stored here; knowledge-batch list shows what is")


class InvalidStateTransitionError(KnowledgeBatchError):
    """The batch can't go from the state it is in to the one that was asked for."""

    fields = ("batch_id", "current_state", "attempted_state", "hint")

    def __init__(self, batch_id: str, current_state: str, attempted_state: str, hint: str | None = None) -> None:
        self.batch_id = batch_id
        self.current_state = current_state
        self.attempted_state = attempted_state
        self.hint = hint
        super().__init__(
            f"Batch {batch_id} is {current_state} and can't become {attempted_state}; "
            + (hint or f"knowledge-batch status {batch_id} shows where it stands")
        )


class OtherInputError(InvalidStateTransitionError):
    """The batch's id bears other input than this; what is stored under it is somebody else's, or from before a change."""

    def __init__(
        self,
        batch_id: str,
        current_state: str,
        attempted_state: str = "Pending",
        hint: str | None = "this id bears other input; choose another batch id",
    ) -> None:
        super().__init__(batch_id, current_state, attempted_state, hint)


class BatchInfrastructureError(KnowledgeBatchError):
    """Something around the documents failed (database, Prefect): what finished is kept, and the batch can be resumed."""

    terminal = False
    fields = ("batch_id", "operation", "reason")

    def __init__(self, batch_id: str, operation: str, reason: str) -> None:
        self.batch_id = batch_id
        self.operation = operation
        self.reason = reason
        super().__init__(
            f"Batch {batch_id}: {operation} failed: {reason}; what finished is stored, "
            f"go on with knowledge-batch resume {batch_id}"
        )


class PrefectUnavailableError(KnowledgeBatchError):
    """Prefect's API can't be reached, or refuses what was asked of it."""

    terminal = False
    fields = ("api", "reason")

    def __init__(self, api: str, reason: str) -> None:
        self.api = api
        self.reason = reason
        super().__init__(
            f"Prefect's API at {api} failed: {reason}; "
            "start a server (knowledge-batch up) or mend PREFECT_API_URL, then try again"
        )


class WorkflowNotFoundError(KnowledgeBatchError):
    """No execution row of this id."""

    fields = ("execution_id",)

    def __init__(self, execution_id: str) -> None:
        self.execution_id = execution_id
        super().__init__(f"No execution {execution_id} is stored here; knowledge-batch list shows the batches that are")


class ActivityFailedError(KnowledgeBatchError):
    """A document's activity failed for good, on its attempt number ``attempt`` (from 1)."""

    fields = ("execution_id", "activity_name", "attempt", "cause")

    def __init__(self, execution_id: str, activity_name: str, attempt: int, cause: str) -> None:
        self.execution_id = execution_id
        self.activity_name = activity_name
        self.attempt = attempt
        self.cause = cause
        super().__init__(
            f"{activity_name} of {execution_id} failed on attempt {attempt}: {cause}; mend the cause, then resume the batch"
        )


class OntologyParseError(KnowledgeBatchError):
    """An ontology that can't be read. Terminal: the same text won't parse next time either."""

    fields = ("message", "format", "cause")

    def __init__(self, message: str, format: str = "turtle", cause: str = "") -> None:
        self.message = message
        self.format = format
        self.cause = cause
        super().__init__(message)


class ExtractorNotFoundError(KnowledgeBatchError):
    """``KNOWLEDGE_EXTRACTOR`` names an extractor that can't be loaded."""

    fields = ("name", "reason")

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(
            f"KNOWLEDGE_EXTRACTOR = {name!r} can't be loaded: {reason}; "
            "set it to rules, or to package.module:factory of something importable"
        )


class ExtractorOutputError(KnowledgeBatchError):
    """An extractor returned what is no ExtractionResult. Transient: what a model returns may be right the next time."""

    terminal = False
    fields = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the extractor returned no ExtractionResult ({reason}); mend its factory, then resume the batch")


class AttemptStoppedError(KnowledgeBatchError):
    """Raised by an extractor that left a document because its batch is to end. It costs the document no attempt."""

    terminal = False

    def __init__(self) -> None:
        super().__init__("the batch is ending; what the extractor has so far is stored, resume the batch to go on")


class StopBatchError(KnowledgeBatchError):
    """Raised by an extractor that can't go on with the batch for now, through no fault of the document.

    It costs the document no attempt: no further one starts, the batch ends as failed with this reason, and can be resumed.
    """

    fields: ClassVar[tuple[str, ...]] = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class LeaseLostError(KnowledgeBatchError):
    """This run no longer holds the batch: it was taken over, or has ended. It must write nothing more."""

    fields = ("batch_id",)

    def __init__(self, batch_id: str) -> None:
        self.batch_id = batch_id
        super().__init__(f"Batch {batch_id} is no longer held by this run; knowledge-batch status {batch_id} tells who has it")


@dataclass(frozen=True)
class StoredError:
    """An error as the store keeps it: class, text, and whether another attempt could help."""

    class_path: str
    message: str
    terminal: bool
    args: tuple[object, ...] = ()

    @classmethod
    def of(cls, error: BaseException) -> "StoredError":
        if isinstance(error, ReplayedError):
            return error.stored
        values: tuple[object, ...] = ()
        if isinstance(error, KnowledgeBatchError):
            values = tuple(getattr(error, name) for name in error.fields)
        kind = type(error)
        # What a database can't keep must not turn one document's failure into the batch's.
        message = str(error).replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")
        return cls(f"{kind.__module__}:{kind.__qualname__}", message, is_terminal(error), values)

    @property
    def text(self) -> str:
        """``ClassName: message``, as results and events show it."""
        name = self.class_path.rpartition(":")[2].rpartition(".")[2]
        return f"{name}: {self.message}" if self.message else name

    def restore(self) -> Exception:
        """An error of the same class. One whose class is gone comes back as RuntimeError with the same text."""
        module, _, name = self.class_path.partition(":")
        try:
            kind: object = import_module(module)
            for part in name.split("."):
                kind = getattr(kind, part)
        except (ImportError, AttributeError):
            return RuntimeError(self.text)
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            return RuntimeError(self.text)
        try:
            return kind(*self.args) if self.args else kind(self.message)
        except Exception:  # a foreign class may want other arguments; its text must not be lost for that
            return RuntimeError(self.text)


class ReplayedError(Exception):
    """An error that was stored before and is met again: it is kept as what it was, even where its class can't be made anew."""

    def __init__(self, stored: StoredError) -> None:
        self.stored = stored
        super().__init__(stored.text)


def is_terminal(error: BaseException) -> bool:
    """Whether another attempt can't change this error."""
    return bool(getattr(error, "terminal", False))
