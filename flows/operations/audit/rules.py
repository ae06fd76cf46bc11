"""The audit's rules as tables: what counts as a second owner of retries, why, and what to write instead.

The defaults and the positions of arguments were read in the libraries' own code: openai 3.57, anthropic 2.14, groq 1.7,
boto3 1.44, huggingface_hub 0.24 to 1.33, mistralai 1.x and 3.7, google-genai 3.6, cohere 7.3, pydantic-ai 1.102 and 2.68,
urllib3 2.8, httpx 0.28, requests, Prefect 3.8, Dask and Ray as measured with Prefect's runners.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

# Which values of an argument mean "no retries"; flows.operations.audit.values reads them.
Off = Literal["zero", "none", "once", "given", "attempts", "options", "budgets"]


@dataclass(frozen=True)
class Finding:
    """A second owner of retries, or a trace of one: where (file and line, variable, or document), what, and what to do."""

    where: str
    what: str
    advice: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.advice}"


@dataclass(frozen=True)
class Rule:
    """Why something is a finding, and what to write instead."""

    reason: str
    advice: str


@dataclass(frozen=True)
class Argument:
    """The argument of a call that decides on its retries.

    ``off`` says which values mean none; without ``required`` the library's own default is none.
    """

    name: str
    off: Off
    rule: Rule
    position: int | None = None
    required: bool = True


# --- Imports: libraries and names that exist to retry ---------------------------------------------------------------------

_LIBRARY = Rule("retries beside the owner", "leave retries to the policy's owner")
_URLLIB3 = Rule("retries beside the owner", "write retries=False, or Retry(0)")
_DEFAULT_CLIENT = Rule("makes a client that retries by itself", "make the provider from its class, with a client that doesn't")
_ASK_AGAIN = Rule("asks the model once more in the same attempt", "raise an error of your own, which is that attempt's failure")

IMPORTS: Mapping[str, Rule] = dict(
    [(name, _LIBRARY) for name in (
        "aiohttp_retry", "backoff", "google.api_core.retry", "httpx_retries", "huggingface_hub.utils.http_backoff", "opnieuw",
        "pydantic_ai.retries", "redo", "retry", "retry_requests", "retryhttp", "retrying", "stamina", "tenacity",
    )]
    + [(name, _URLLIB3) for name in ("urllib3.Retry", "urllib3.util.Retry", "urllib3.util.retry")]
    + [(name, _DEFAULT_CLIENT) for name in (
        "pydantic_ai.providers.infer_provider", "pydantic_ai.providers.gateway.gateway_provider",
    )]
    + [(name, _ASK_AGAIN) for name in ("pydantic_ai.ModelRetry", "pydantic_ai.exceptions.ModelRetry")]
)  # fmt: skip
URLLIB3_RETRY = frozenset({"urllib3.Retry", "urllib3.util.Retry", "urllib3.util.retry.Retry"})

IMPORTERS = frozenset({"importlib.import_module", "importlib.__import__", "builtins.__import__", "__import__"})

# --- Prefect: every task and flow says its own retries --------------------------------------------------------------------

PREFECT: Mapping[str, Literal["task", "flow"]] = {
    **dict.fromkeys(("prefect.task", "prefect.tasks.task", "prefect.main.task", "prefect.Task", "prefect.tasks.Task"), "task"),
    **dict.fromkeys(("prefect.flow", "prefect.flows.flow", "prefect.main.flow", "prefect.Flow", "prefect.flows.Flow"), "flow"),
}
NO_RETRIES_OF_ITS_OWN: Mapping[str, Rule] = {
    "task": Rule("has no retries=", "PREFECT_TASKS_DEFAULT_RETRIES would decide; write retries= out"),
    "flow": Rule("has no retries=", "PREFECT_FLOWS_DEFAULT_RETRIES would decide; write retries=0"),
}
FLOW_RETRIES = Rule("", "a flow's retries multiply its tasks'; write retries=0")
RETRIES_FROM_OUTSIDE = Rule("", "the definition of a task or flow sets its retries; leave them as they are")

# --- Settings that give retries to whatever has none of its own -----------------------------------------------------------


def _all(names: Iterable[str], off: Off, rule: Rule) -> list[tuple[str, tuple[Off, Rule]]]:
    return [(name, (off, rule)) for name in names]


SETTINGS: Mapping[str, tuple[Off, Rule]] = dict(
    _all(
        (
            "PREFECT_TASKS_DEFAULT_RETRIES", "PREFECT_TASK_DEFAULT_RETRIES",
            "PREFECT_FLOWS_DEFAULT_RETRIES", "PREFECT_FLOW_DEFAULT_RETRIES",
        ),
        "zero",
        Rule("gives retries to tasks or flows that say nothing of them", "leave it at 0"),
    )
    + _all(
        (
            "distributed.scheduler.allowed-failures", "distributed.scheduler.allowed_failures", "allowed-failures",
            "distributed__scheduler__allowed_failures", "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES",
        ),
        "zero",
        Rule("makes Dask run a document again whose worker died", "set it to 0"),
    )
    + _all(
        ("RAY_TASK_MAX_RETRIES",),
        "zero",
        Rule("makes Ray run a document again whose worker died", "set it to 0"),
    )
    + _all(
        ("AWS_MAX_ATTEMPTS",),
        "once",
        Rule("makes AWS clients try again", "set it to 1, which is one attempt in all"),
    )
)  # fmt: skip
DASK_SETTINGS = frozenset(name for name in SETTINGS if "llowed" in name or "ALLOWED" in name)

# Starts a Dask cluster or connects to one. Its scheduler runs a task of a dead worker three times more, unless the same file
# sets it to 0.
DASK_CLUSTERS = frozenset(
    {
        *(f"{module}.{name}" for module in ("distributed", "dask.distributed") for name in ("Client", "LocalCluster")),
        "prefect_dask.DaskTaskRunner", "prefect_dask.task_runners.DaskTaskRunner",
    }
)  # fmt: skip
DASK_DEFAULT = Rule(
    "runs a document again whose worker died",
    'write dask.config.set({"distributed.scheduler.allowed-failures": 0}) before it; a scheduler that is there needs it too',
)
RAY_DEFAULT = Rule("runs again when its worker dies", "write @ray.remote(max_retries=0)")

# --- Clients: what each must be given -------------------------------------------------------------------------------------

_CLIENT = Rule("retries by itself", "give it max_retries=0")
_UNSAID = "leaves its retries to the library"
_MAX_RETRIES = Argument("max_retries", "zero", _CLIENT)


def _clients(package: str, names: str, argument: Argument) -> list[tuple[str, Argument]]:
    return [(f"{package}.{name}", argument) for name in names.split()]


def _both(names: str) -> str:
    return " ".join(f"{name} Async{name}" for name in names.split())


def _provider(client: str, names: str, position: int | None = None) -> list[tuple[str, Argument]]:
    rule = Rule("retries by itself", f"give it {client}=, a client that doesn't retry")
    return _clients("pydantic_ai.providers", names, Argument(client, "given", rule, position))


_POOL = Rule("retries by itself", "give it retries=False")
_AWS = Rule("retries by itself", 'give it config=Config(retries={"max_attempts": 0})')
_AWS_CONFIG = Rule("leaves retries on", 'give it retries={"max_attempts": 0}')
_GOOGLE = Rule(_UNSAID, "give it http_options=HttpOptions(retry_options=HttpRetryOptions(attempts=1))")
_GOOGLE_ATTEMPTS = Rule("tries five times", "give it attempts=1")
_HUGGING_FACE = Rule(
    "asks again while a model loads (huggingface_hub before 0.36), without an end where it has no timeout",
    "give it timeout=, and use huggingface_hub 0.36 or later",
)
_MODEL = Rule("makes a client that retries by itself", "give it provider=, made with a client that doesn't retry")
_AGENT = Rule("retries by itself", "give it retries=0")
_TRANSPORT = Rule("retries by itself", "write 0")

CLIENTS: Mapping[str, Argument] = dict(
    _clients("openai", _both("OpenAI AzureOpenAI BedrockOpenAI") + " Client AsyncClient", _MAX_RETRIES)
    + _clients("anthropic", _both("Anthropic AnthropicAWS AnthropicFoundry AnthropicVertex"), _MAX_RETRIES)
    + _clients("anthropic", "Client AsyncClient", _MAX_RETRIES)
    + _clients("anthropic", _both("AnthropicBedrock"), Argument("max_retries", "zero", _CLIENT, 8))
    + _clients("groq", _both("Groq") + " Client AsyncClient", _MAX_RETRIES)
    + _clients("cohere", "Client AsyncClient ClientV2 AsyncClientV2", _MAX_RETRIES)
    + _clients("langchain_openai", "ChatOpenAI AzureChatOpenAI", _MAX_RETRIES)
    + [("langchain_anthropic.ChatAnthropic", _MAX_RETRIES), ("langchain_groq.ChatGroq", _MAX_RETRIES)]
    # The releases that were read retry only where they are told to; written down, it stays so in the next one.
    + [(name, Argument("retry_config", "none", Rule(_UNSAID, "give it retry_config=None"), 6))
       for name in ("mistralai.Mistral", "mistralai.client.Mistral", "mistralai.sdk.Mistral", "mistralai.client.sdk.Mistral")]
    + _clients("google.genai", "Client client.Client", Argument("http_options", "options", _GOOGLE))
    + _clients("google.genai.types", "HttpOptions", Argument("retry_options", "given", _GOOGLE))
    + _clients("google.genai.types", "HttpRetryOptions", Argument("attempts", "once", _GOOGLE_ATTEMPTS))
    + _clients("huggingface_hub", _both("InferenceClient"), Argument("timeout", "given", _HUGGING_FACE))
    + _clients("boto3", "client resource session.Session().client session.Session().resource Session().client Session().resource",
               Argument("config", "given", _AWS, 9))
    + _clients("botocore", "config.Config client.Config", Argument("retries", "attempts", _AWS_CONFIG))
    # An agent asks again when an answer doesn't validate: another attempt as well.
    + _clients("pydantic_ai", "Agent agent.Agent", Argument("retries", "budgets", _AGENT))
    + _clients("pydantic_ai.models", "infer_model",
               Argument("provider_factory", "given", Rule(_MODEL.reason, "make the model from its class, with provider="), 1))
    + _clients(
        "pydantic_ai.models",
        "anthropic.AnthropicModel bedrock.BedrockConverseModel cerebras.CerebrasModel cohere.CohereModel gemini.GeminiModel "
        "google.GoogleModel groq.GroqModel huggingface.HuggingFaceModel mistral.MistralModel ollama.OllamaModel "
        "openai.OpenAIChatModel openai.OpenAIModel openai.OpenAIResponsesModel openrouter.OpenRouterModel xai.XaiModel "
        "crusoe.CrusoeModel github_copilot.GitHubCopilotModel snowflake.SnowflakeModel zai.ZaiModel "
        "bedrock_mantle.BedrockMantleChatModel bedrock_mantle.BedrockMantleResponsesModel",
        Argument("provider", "given", _MODEL),
    )
    + _provider(
        "openai_client",
        "alibaba.AlibabaProvider azure.AzureProvider bedrock_mantle.BedrockMantleProvider cerebras.CerebrasProvider "
        "crusoe.CrusoeProvider deepseek.DeepSeekProvider fireworks.FireworksProvider github.GitHubProvider "
        "github_copilot.GitHubCopilotProvider grok.GrokProvider heroku.HerokuProvider litellm.LiteLLMProvider meta.MetaProvider "
        "moonshotai.MoonshotAIProvider nebius.NebiusProvider openai_compatible.OpenAICompatibleProvider "
        "openrouter.OpenRouterProvider ovhcloud.OVHcloudProvider sambanova.SambaNovaProvider snowflake.SnowflakeProvider "
        "together.TogetherProvider vercel.VercelProvider vllm.VLLMProvider zai.ZaiProvider",
    )
    + _provider("openai_client", "ollama.OllamaProvider openai.OpenAIProvider", 2)
    + _provider("anthropic_client", "anthropic.AnthropicProvider")
    + _provider("groq_client", "groq.GroqProvider")
    + _provider("mistral_client", "mistral.MistralProvider")
    + _provider("cohere_client", "cohere.CohereProvider")
    + _provider("bedrock_client", "bedrock.BedrockProvider")
    + _provider("hf_client", "huggingface.HuggingFaceProvider", 2)
    + _provider("client", "google.GoogleProvider google_cloud.GoogleCloudProvider")
    + _clients("urllib3", "PoolManager ProxyManager request", Argument("retries", "zero", _POOL))
    + _clients("urllib3", "HTTPConnectionPool HTTPSConnectionPool", Argument("retries", "zero", _POOL, 6))
    + _clients("urllib3", "PoolManager().request PoolManager().urlopen", Argument("retries", "zero", _POOL, required=False))
    + _clients("urllib3", "HTTPConnectionPool().urlopen HTTPSConnectionPool().urlopen",
               Argument("retries", "zero", _POOL, 4, required=False))
    + [(f"requests.{name}", Argument("max_retries", "zero", _TRANSPORT, 2, required=False))
       for name in ("adapters.HTTPAdapter",)]
    + [(f"{package}.{name}", Argument("retries", "zero", _TRANSPORT, 9, required=False))
       for package in ("httpx", "httpx2") for name in ("HTTPTransport", "AsyncHTTPTransport")]
)  # fmt: skip

# Takes a model by name, at this position or as model=, and makes the client for it: name → position.
MODELS_BY_NAME: Mapping[str, int | None] = {
    "pydantic_ai.Agent": 0,
    "pydantic_ai.agent.Agent": 0,
    **{f"pydantic_ai.{agent}().{method}": None
       for agent in ("Agent", "agent.Agent")
       for method in ("run", "run_sync", "run_stream", "run_stream_sync", "iter", "override")},
    **{f"pydantic_ai.direct.{name}": 0
       for name in ("model_request", "model_request_sync", "model_request_stream", "model_request_stream_sync")},
    "pydantic_ai.Embedder": 0,
}  # fmt: skip
# pydantic-ai's own stand-in for tests, which asks nobody.
NO_MODEL = frozenset({"test"})
MODEL_BY_NAME = Rule("retries by itself", "give a model whose provider has a client with max_retries=0")

# --- Names that mean retries on whatever they stand -----------------------------------------------------------------------

_COUNT = Rule("", "a client that retries is a second owner; write 0")
_CONFIGURED = Rule("", "a client that retries is a second owner; write None")
ARGUMENTS: Mapping[str, tuple[Off, Rule]] = dict(
    [(name, ("zero", _COUNT)) for name in (
        "allowed_failures", "max_retries", "max_task_retries", "num_retries", "output_retries", "retries", "tool_retries",
    )]
    + [(name, ("none", _CONFIGURED)) for name in ("retry_config", "retry_policy", "retry_strategy")]
)  # fmt: skip
ATTRIBUTES = frozenset({*ARGUMENTS, "default_retries"})
ATTRIBUTE = Rule("", "retries are set once, where a task is defined; leave them to the policy's owner")
METHODS: Mapping[str, Rule] = {
    name: Rule("retries what it wraps", "call it once; the policy's owner tries again") for name in ("with_retry", "with_retries")
}
