"""The model behind its provider's protocol: one request a call, bounded in time, and never one more."""

import asyncio
import hashlib
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from compat.errors import InvalidInputError, Problem
from compat.settings import Settings
from tasks.extraction.llm.errors import (
    ModelAnswerError,
    ModelContentFilterError,
    model_call_error,
    without_secret,
)
from tasks.extraction.llm.messages import Asked, Reply, Request

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelResponse
    from pydantic_ai.models import Model

log = logging.getLogger("knowledge_batch")

# Where Ollama listens.
OLLAMA_URL = "http://localhost:11434/v1"
_OWN_KEY = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY", "ollama": "OLLAMA_API_KEY"}
_NO_KEY = "no-key"
# Their clients' retries can't be set once they are made.
_RETRY_ALWAYS = frozenset({"bedrock", "cohere"})
# Turns of the loop in which the client prepares a request, writes its head, and writes its body.
_STEPS_TO_SEND = 3


@dataclass(frozen=True)
class Endpoint:
    """A model and how it is spoken to. The key is in no repr."""

    model_id: str
    base_url: str | None = None
    key: str | None = field(default=None, repr=False)
    timeout: float = 60.0
    max_tokens: int = 4096
    temperature: float | None = None

    @property
    def provider(self) -> str:
        """The part of the model's id before the colon."""
        return self.model_id.partition(":")[0]

    @property
    def model_name(self) -> str:
        """The part of the model's id behind the colon."""
        return self.model_id.partition(":")[2]


class Client:
    """A model of a provider. Belongs to the event loop that it is first used on."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Raise InvalidInputError if there is no such provider, or it can't be used."""
        self._endpoint = endpoint
        self._sending = asyncio.Lock()
        self._model = _model(endpoint)
        # Made below with a client of ours, which speaks OpenAI's protocol or Anthropic's.
        self._is_ours = endpoint.provider in _OWN_KEY or endpoint.base_url is not None
        self.model_id = endpoint.model_id
        self.provider = endpoint.provider
        self.model_name = endpoint.model_name
        self.base_url = str(self._model.base_url or "")
        # Of the key only enough to tell it from another one.
        mark = hashlib.sha256((endpoint.key or "").encode()).hexdigest()[:8]
        self.limit_key = f"{self.provider} {urlsplit(self.base_url).netloc} {mark}"
        # The settings that an answer depends on.
        self.settings_key = f"max_tokens={endpoint.max_tokens} temperature={endpoint.temperature}"

    def __repr__(self) -> str:
        return f"Client({self.model_id!r}, {self.base_url!r})"

    def clean(self, text: str) -> str:
        """Return the text without the key."""
        return without_secret(text, self._endpoint.key)

    async def ask(self, request: Request) -> Reply:
        """Make one request. Raises ModelCallError."""
        asked = request.asked
        try:
            async with asyncio.timeout(self._endpoint.timeout):
                response = await self._in_turn(request)
        except TimeoutError:
            error = TimeoutError(f"no whole answer within {self._endpoint.timeout:g} s")
            raise model_call_error(error, asked, self._endpoint.key) from None
        except Exception as error:
            raise model_call_error(error, asked, self._endpoint.key) from error
        return _reply(response, asked)

    async def _in_turn(self, request: Request) -> "ModelResponse":
        """Make one request, once the one before it is on its way.

        Of many that are ready at once, the loop would prepare all before it sent the first: the model would wait for the
        processor, then the processor for the model, whose answers come at once again.
        """
        async with self._sending:
            task = asyncio.create_task(self._request(request))
            try:
                for _ in range(_STEPS_TO_SEND):
                    await asyncio.sleep(0)
            except asyncio.CancelledError:
                task.cancel()
                await asyncio.wait([task])
                raise
        return await task

    async def _request(self, request: Request) -> "ModelResponse":
        from pydantic_ai.messages import ModelRequest, ModelResponse, SystemPromptPart, UserPromptPart
        from pydantic_ai.models import ModelRequestParameters
        from pydantic_ai.output import OutputObjectDefinition
        from pydantic_ai.settings import ModelSettings
        from pydantic_ai.tools import ToolDefinition

        endpoint = self._endpoint
        # Anthropic streams without max_tokens.
        settings = ModelSettings(max_tokens=endpoint.max_tokens, timeout=endpoint.timeout, cache={"messages": False})
        if not self._is_ours:
            # The client's retries would be a second owner's: none. Ours has none; the setting would copy it at every call.
            settings["max_retries"] = 0
        if endpoint.temperature is not None:
            settings["temperature"] = endpoint.temperature
        if self._is_ours and self.provider != "anthropic":
            # The SDK checks and copies a schema field by field at every call, which takes longer than sending it; what is
            # extra to the body it sends as it is.
            answer = {"name": "answer", "schema": request.schema.value, "strict": False}
            settings["extra_body"] = {"response_format": {"type": "json_schema", "json_schema": answer}}
            parameters = ModelRequestParameters()
        elif self._model.profile.get("supports_json_schema_output") and self.provider != "anthropic":
            output = OutputObjectDefinition(json_schema=request.schema.value, name="answer", strict=False)
            parameters = ModelRequestParameters(output_mode="native", allow_text_output=True, output_object=output)
        else:
            tool = ToolDefinition(name="answer", parameters_json_schema=request.schema.value, kind="output", strict=False)
            parameters = ModelRequestParameters(output_mode="tool", allow_text_output=False, output_tools=[tool])
        asked = ModelRequest(parts=[SystemPromptPart(content=request.system), UserPromptPart(content=request.user)])
        messages: list[ModelRequest | ModelResponse] = [asked]
        return await self._model.request(messages, settings, parameters)


def _reply(response: "ModelResponse", asked: Asked) -> Reply:
    from pydantic_ai.messages import TextPart, ToolCallPart

    usage = response.usage
    tools = [part for part in response.parts if isinstance(part, ToolCallPart)]
    text = "".join(part.content for part in response.parts if isinstance(part, TextPart))
    answer: str | dict[str, Any] = text
    if tools:
        args = tools[0].args
        answer = dict(args) if isinstance(args, Mapping) else (args or "")
    reply = Reply(answer, response.finish_reason == "length", usage.input_tokens, usage.output_tokens, usage.cache_read_tokens)
    refused = {"content_filter": ModelContentFilterError, "error": ModelAnswerError}.get(response.finish_reason or "")
    if refused is not None:
        error = refused(asked.provider, asked.model, asked.stage, asked.chunk, None, text[:300] or "the answer was withheld")
        error.reply = reply
        raise error
    return reply


def client_of(settings: Settings) -> Client:
    """Return the client of these settings, once a process: connections are kept from batch to batch.

    Raises InvalidInputError where a setting is missing, names no provider, or the extra ``llm`` isn't installed.
    """
    if not settings.llm_model or not all(settings.llm_model.partition(":")):
        advice = "name the model as provider:model, such as openai:gpt-5-mini, anthropic:claude-haiku-4-5 or ollama:qwen3"
        raise InvalidInputError([Problem("KNOWLEDGE_LLM_MODEL", settings.llm_model, advice)])
    endpoint = Endpoint(
        settings.llm_model,
        settings.llm_base_url,
        settings.llm_api_key.get_secret_value() if settings.llm_api_key else None,
        settings.llm_timeout_seconds,
        settings.llm_max_tokens,
        settings.llm_temperature,
    )
    if endpoint.key is None:
        endpoint = replace(endpoint, key=os.environ.get(_OWN_KEY.get(endpoint.provider, "")) or None)
    return _client(os.getpid(), endpoint)


@lru_cache(maxsize=8)
def _client(_pid: int, endpoint: Endpoint) -> Client:
    return Client(endpoint)


def _model(endpoint: Endpoint) -> "Model":
    provider, name, base_url, key = endpoint.provider, endpoint.model_name, endpoint.base_url, endpoint.key
    try:
        # Not before it is wanted: it takes seconds, and is an extra.
        from pydantic_ai.exceptions import UserError
        from pydantic_ai.models import infer_model
    except ModuleNotFoundError as error:
        advice = f"needs {error.name}; install knowledge-batch[llm]"
        raise InvalidInputError([Problem("KNOWLEDGE_EXTRACTOR", "llm", advice)]) from None
    try:
        if provider == "anthropic":
            from anthropic import AsyncAnthropic
            from pydantic_ai.models.anthropic import AnthropicModel
            from pydantic_ai.providers.anthropic import AnthropicProvider

            if not key and not base_url:
                raise _no_key(provider)
            anthropic = AsyncAnthropic(api_key=key or _NO_KEY, base_url=base_url, max_retries=0)
            return AnthropicModel(name, provider=AnthropicProvider(anthropic_client=anthropic))
        if provider in ("openai", "ollama") or base_url:
            from openai import AsyncOpenAI
            from pydantic_ai.models.openai import OpenAIChatModel
            from pydantic_ai.providers.openai import OpenAIProvider

            if not key and not base_url and provider == "openai":
                raise _no_key(provider)
            # A server of one's own needs no key, but the client does.
            url = base_url or (OLLAMA_URL if provider == "ollama" else None)
            openai = AsyncOpenAI(api_key=key or _NO_KEY, base_url=url, max_retries=0)
            return OpenAIChatModel(name, provider=OpenAIProvider(openai_client=openai))
        return infer_model(f"{provider}:{name}", _provider_of(key))
    except UserError as error:
        raise InvalidInputError([Problem("KNOWLEDGE_LLM_MODEL", f"{provider}:{name}", str(error))]) from None
    except ImportError as error:
        advice = f"{provider} needs a package that isn't installed: {error}"
        raise InvalidInputError([Problem("KNOWLEDGE_LLM_MODEL", f"{provider}:{name}", advice)]) from None


def _provider_of(key: str | None) -> Callable[[str], Any]:
    """Return what makes pydantic-ai's provider of a name, with our key or the provider's own variable, and without retries."""
    from pydantic_ai.providers import infer_provider_class

    def make(name: str) -> Any:
        if name in _RETRY_ALWAYS:
            advice = (
                "its client retries by itself, beside the batch's policy; reach it by an OpenAI-compatible KNOWLEDGE_LLM_BASE_URL"
            )
            raise InvalidInputError([Problem("KNOWLEDGE_LLM_MODEL", name, advice)])
        kind: Any = infer_provider_class(name)
        provider = kind(api_key=key) if key else kind()
        if hasattr(provider.client, "max_retries"):
            provider.client.max_retries = 0
        return provider

    return make


def _no_key(provider: str) -> InvalidInputError:
    advice = f"is missing; set it or {_OWN_KEY[provider]}, or KNOWLEDGE_LLM_BASE_URL for a server of your own"
    return InvalidInputError([Problem("KNOWLEDGE_LLM_API_KEY", None, advice)])
