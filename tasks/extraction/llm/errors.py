"""What may go wrong with a call to a model, terminal or transient, each with the next step; and one table that says which."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from compat.errors import KnowledgeBatchError, StopBatchError
from tasks.extraction.llm.messages import Asked, Reply


class ModelCallError(KnowledgeBatchError):
    """A call to a model failed. ``status`` is the HTTP status, where there was one."""

    terminal = False
    advice: ClassVar[str] = "the policy's owner tries again; resume the batch if it gives up"
    fields = ("provider", "model", "stage", "chunk", "status", "reason")

    def __init__(self, provider: str, model: str, stage: str, chunk: str, status: int | None, reason: str) -> None:
        self.provider = provider
        self.model = model
        self.stage = stage
        self.chunk = chunk
        self.status = status
        self.reason = reason
        # Seconds that the provider asks to be left alone, and the answer that is refused. Neither is stored with the error.
        self.retry_after: float | None = None
        self.reply: Reply | None = None
        where = f"{provider}, model {model}, stage {stage}, chunk {chunk}" + (f", HTTP {status}" if status else "")
        super().__init__(f"{reason} ({where}); {self.advice}")


class ModelRateLimitedError(ModelCallError):
    """Too many requests or tokens a minute for this key."""

    advice = "calls wait as long as the provider asked for; set KNOWLEDGE_LLM_REQUESTS_PER_MINUTE to what the key bears"


class ModelServerFailedError(ModelCallError):
    """The provider failed or is overloaded."""


class ModelTimeoutError(ModelCallError):
    """No whole answer in time."""

    advice = "raise KNOWLEDGE_LLM_TIMEOUT_SECONDS if the model needs longer"


class ModelUnreachableError(ModelCallError):
    """No connection, or one that broke."""

    advice = "see that the server at KNOWLEDGE_LLM_BASE_URL runs"


class ModelAnswerError(ModelCallError):
    """The model answered, and nothing of it is of use."""

    advice = "knowledge-batch calls shows what it wrote"


class ModelQuotaError(ModelCallError):
    """The account has no money or quota left."""

    terminal = True
    advice = "mend the account, then resume the batch"


class ModelKeyError(ModelCallError):
    """The key is refused."""

    terminal = True
    advice = "mend KNOWLEDGE_LLM_API_KEY, then resume the batch"


class ModelNotFoundError(ModelCallError):
    """There is no such model, or no such address."""

    terminal = True
    advice = "mend KNOWLEDGE_LLM_MODEL or KNOWLEDGE_LLM_BASE_URL, then resume the batch"


class ModelContextError(ModelCallError):
    """Ontology and chunk are longer than what the model reads at a time."""

    terminal = True
    advice = "use a model with a larger context, then resume the batch"


class ModelRequestRefusedError(ModelCallError):
    """The provider refuses the request as it is."""

    terminal = True
    advice = "mend the setting that it names, then resume the batch"


class ModelContentFilterError(ModelCallError):
    """The provider or the model refuses this text."""

    terminal = True
    advice = "leave the document out, or use another model"


class ModelAnswerTooLongError(ModelCallError):
    """The answer was cut off at its token limit, also for half of the chunk."""

    terminal = True
    advice = "raise KNOWLEDGE_LLM_MAX_TOKENS, then resume the batch"


class TokenBudgetError(StopBatchError):
    """The batch has no tokens left; nothing of it is lost."""

    fields: ClassVar[tuple[str, ...]] = ("batch_id", "spent", "budget", "needed")

    def __init__(self, batch_id: str, spent: int, budget: int, needed: int) -> None:
        self.batch_id = batch_id
        self.spent = spent
        self.budget = budget
        self.needed = needed
        super().__init__(
            f"{spent} of the KNOWLEDGE_LLM_TOKEN_BUDGET of {budget} tokens are spent and the next call takes about {needed}; "
            "raise the budget, then resume the batch"
        )


# By the names of pydantic-ai's classes, the first that is among an error's bases: its module is imported nowhere but here.
_BY_NAME: Mapping[str, type[ModelCallError]] = {
    "ModelQuotaExceededError": ModelQuotaError,
    "ModelRateLimitError": ModelRateLimitedError,
    "ModelAuthenticationError": ModelKeyError,
    "ModelNotFoundError": ModelNotFoundError,
    "ModelContextWindowExceededError": ModelContextError,
    "ContentFilterError": ModelContentFilterError,
    "ModelTimeoutError": ModelTimeoutError,
    "ModelRequestTimeout": ModelTimeoutError,
    "TimeoutError": ModelTimeoutError,
    "ModelConnectionError": ModelUnreachableError,
    "ModelUnavailableError": ModelServerFailedError,
    "ModelServerError": ModelServerFailedError,
    "ModelRequestRejectedError": ModelRequestRefusedError,
    "UnexpectedModelBehavior": ModelAnswerError,
    # `choices: []`, and a body of another shape than the protocol's.
    "IndexError": ModelAnswerError,
    "ModelAPIError": ModelAnswerError,
}


def model_call_error(error: Exception, asked: Asked, secret: str | None) -> ModelCallError:
    """Return the error as one of ours, without the key in its text."""
    kind = next((_BY_NAME[base.__name__] for base in type(error).__mro__ if base.__name__ in _BY_NAME), ModelAnswerError)
    status = getattr(error, "status_code", None)
    if status == 408:
        kind = ModelTimeoutError
    elif status == 403 and kind is ModelRequestRefusedError:
        kind = ModelKeyError
    reason = without_secret(_reason(error), secret)
    ours = kind(asked.provider, asked.model, asked.stage, asked.chunk, status, reason)
    ours.retry_after = getattr(error, "retry_after", None)
    return ours


def without_secret(text: str, secret: str | None) -> str:
    """Return the text without the key; providers like to quote it back."""
    return text.replace(secret, "…") if secret else text


def _reason(error: Exception) -> str:
    said = next(_messages(getattr(error, "body", None)), None) or getattr(error, "message", None) or str(error)
    text = " ".join(str(said).split())[:300]
    # Of an error that isn't the client's own, what it is tells more than what it says.
    return text if text and hasattr(error, "message") else f"{type(error).__name__}: {text}".rstrip(": ")


def _messages(body: Any) -> Iterator[str]:
    while isinstance(body, Mapping):
        if isinstance(body.get("message"), str):
            yield body["message"]
        body = body.get("error")
