"""The form of a batch's deployment: what its fields are called, what they accept, and how a refusal reads there."""

import logging
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from prefect.exceptions import CancelledRun, FailedRun, ParameterTypeError
from prefect.utilities.callables import parameter_schema
from pydantic import BeforeValidator, Field

from compat.contracts import FailurePolicy
from compat.errors import InvalidInputError, KnowledgeBatchError, Problem
from compat.keepable import one_line
from flows.sources import places

# In a choice, what leaves it to the worker's environment. Runs that were stored before it had a name have an empty text.
DEFAULT = "default"


def _titled(title: str, refused: str = "", advice: str = "") -> dict[str, Any]:
    """Return what the form's schema says of a field besides its type.

    Args:
        title: What the form calls it.
        refused: The pattern of texts that Prefect's API refuses before it stores them.
        advice: What is expected instead. The API's refusal shows a constant as it stands, and neither the pattern nor the text.
    """
    extra: dict[str, Any] = {"title": title}
    if refused:
        extra |= {"if": {"type": "string", "pattern": refused}, "then": {"const": advice}}
    return extra


# What an address is to be, for a refusal.
_WITHOUT = "an address without a password, which Prefect would show; put it into a variable of the worker: env:NAME"
_CONTROLS = r"[\x00-\x1f\x7f-\x9f]"
_PLAIN = "one line, since a text with control characters is refused"

Source = Annotated[str, Field(min_length=1, json_schema_extra=_titled("Documents", places.PASSWORD, _WITHOUT))]
# Empty texts rather than None, so that the form shows a field instead of a choice of types.
Ontology = Annotated[str, Field(json_schema_extra=_titled("Ontology", places.PASSWORD, _WITHOUT))]
Organization = Annotated[str, Field(max_length=200, json_schema_extra=_titled("Organization", _CONTROLS, _PLAIN))]
BatchId = Annotated[str, Field(max_length=200, json_schema_extra=_titled("Batch ID", _CONTROLS, _PLAIN))]
FailedOf = Annotated[str, Field(max_length=200, json_schema_extra=_titled("Failed documents of", _CONTROLS, _PLAIN))]
_or_default = BeforeValidator(lambda value: value or DEFAULT)
Mode = Annotated[Literal["default", "legacy", "engine", "shadow"], _or_default, Field(json_schema_extra=_titled("Mode"))]
Extractor = Annotated[Literal["default", "rules", "linear", "llm"], _or_default, Field(json_schema_extra=_titled("Extractor"))]
Policy = Annotated[FailurePolicy, Field(json_schema_extra=_titled("Failure policy"))]
Concurrency = Annotated[int, Field(ge=1, le=20, json_schema_extra=_titled("Concurrency"))]
MaxRetries = Annotated[int, Field(ge=0, le=1000, json_schema_extra=_titled("Maximum retries"))]
Resolution = Annotated[bool, Field(json_schema_extra=_titled("Merge entities"))]
OnlyNew = Annotated[bool, Field(json_schema_extra=_titled("Only new documents"))]
FailOnError = Annotated[bool, Field(json_schema_extra=_titled("Fail on error"))]
Query = Annotated[str, Field(json_schema_extra=_titled("Query"))]
IdColumn = Annotated[str, Field(min_length=1, json_schema_extra=_titled("ID column"))]
TextColumn = Annotated[str, Field(min_length=1, json_schema_extra=_titled("Text column"))]
Delimiter = Annotated[str, Field(json_schema_extra=_titled("Delimiter"))]

# Fields as errors of ours call them, and as the form does.
_FIELDS = {
    "SOURCE": "Documents",
    "ontology": "Ontology",
    "query": "Query",
    "delimiter": "Delimiter",
    "--failed-of": "Failed documents of",
    "organizationId": "Organization",
    "batchId": "Batch ID",
    "mode": "Mode",
}
_OPTIONS = {
    "ontology": "Ontology",
    "query": "Query",
    "id-column": "ID column",
    "text-column": "Text column",
    "delimiter": "Delimiter",
    "failed-of": "Failed documents of",
}
_OPTION = re.compile(rf"--({'|'.join(_OPTIONS)})(?: (?:FILE|ID|SELECT …))?")


def defaults_of(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that a form begins with, without those that are empty."""
    return {name: each["default"] for name, each in schema["properties"].items() if each.get("default") not in (None, "")}


def schema_of(flow: Any, parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the schema of a flow's form, for a deployment that has these parameters of its own.

    The page writes "(Optional)" at whatever isn't required, a default or not. So what the deployment has a value for is required:
    nobody has to give it, and only what may stay empty is called optional.
    """
    schema = parameter_schema(flow).model_dump(mode="json")
    held = [name for name in defaults_of(schema) if name in (parameters or {})]
    return {**schema, "required": [*schema["required"], *held]}


def in_words(error: KnowledgeBatchError) -> str:
    """Return an error as the page shows it: fields by their titles, and nothing of a file's content."""
    if not isinstance(error, InvalidInputError):
        return one_line(str(error))
    return one_line("; ".join(map(_sentence, error.problems)))


def _sentence(problem: Problem) -> str:
    advice = _OPTION.sub(lambda found: f"the field {_OPTIONS[found[1]]}", problem.advice)
    advice = advice.replace("--model FILE", "KNOWLEDGE_LINEAR_MODEL where the worker runs")
    if problem.field in _FIELDS:
        return str(Problem(_FIELDS[problem.field], problem.value, advice))
    # A place in a file, whose value is what stands there.
    return f"{problem.field}: {advice.replace(repr(problem.value), '…')}"


class _Words(logging.Filter):
    """Makes one sentence of a log line about an error of ours, or about a run that ended as its state says."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, KnowledgeBatchError | FailedRun | CancelledRun | ParameterTypeError):
            record.msg = in_words(error) if isinstance(error, KnowledgeBatchError) else str(error)
            record.args, record.exc_info, record.exc_text = (), None, None
        return True


_WORDS = _Words()


def log_in_words() -> None:
    """Keep tracebacks of our own errors out of the log of this process's runs, which the page shows.

    A worker's process raises what a run failed with, a state that the flow returned no less, and logs that as unexpected.
    """
    for name in ("prefect.flow_runs", "prefect.engine"):
        # The same one twice is added once.
        logging.getLogger(name).addFilter(_WORDS)


# --- The run's name -------------------------------------------------------------------------------------------------------

_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau upsilon phi chi psi omega"
)
# What the page proposes: a Greek letter, numbered perhaps, and one or two words.
_PROPOSED = re.compile(rf"(?:{_GREEK.replace(' ', '|')})\d*(?:-[a-z]+)+")


def is_proposed(name: str) -> bool:
    """Return whether Prefect made up a run's name, on its page or in its API."""
    return bool(_PROPOSED.fullmatch(name)) or _is_slug(name)


def _is_slug(name: str) -> bool:
    """Return whether a name is a quality and an animal, of which Prefect's API makes names."""
    from coolname.data import config

    lists: Mapping[str, Any] = config
    animals = {word for key, each in lists.items() if key.startswith("animal") for word in each.get("words", ())}
    qualities = {word for key, each in lists.items() if not key.startswith("animal") for word in each.get("words", ())}
    first, _, second = name.partition("-")
    return first in qualities and second in animals
