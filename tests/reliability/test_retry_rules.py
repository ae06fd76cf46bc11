"""R2: every rule of the audit finds a second owner of retries at its line, and nothing in the same code once it is mended."""

import importlib
import inspect
from typing import Any, NamedTuple

import pytest

from flows.operations.audit import audit_source
from flows.operations.audit.rules import CLIENTS, MODELS_BY_NAME


class Pair(NamedTuple):
    """Code with a second owner on its last line, what the audit says of it, and the code mended."""

    owner: str
    said: str
    mended: str


TASK = "from prefect import task\n\n"
FLOW = "from prefect import flow\n\n"
OPENAI = "from openai import AsyncOpenAI\nclient = AsyncOpenAI(max_retries=0)\n"
AGENT = "from pydantic_ai import Agent\n"
RETRIES = "from prefect.settings import PREFECT_TASKS_DEFAULT_RETRIES as TASKS, temporary_settings\n"

PAIRS = {
    # Imports
    "retry library": Pair("import tenacity", "tenacity retries", "import json"),
    "retry library by name": Pair(
        "from tenacity import retry as again", "tenacity.retry retries", "from mine import retry as again"
    ),
    "retry library in a function": Pair("def call():\n    import backoff", "backoff retries", "def call():\n    import json"),
    "retry library at run time": Pair(
        "import importlib\nimportlib.import_module('stamina')",
        "stamina retries",
        "import importlib\nimportlib.import_module('statistics')",
    ),
    "retry library by import_module under another name": Pair(
        "from importlib import import_module as load\nload('stamina')",
        "stamina retries",
        "from importlib import import_module as load\nload('statistics')",
    ),
    "retry library by a name kept": Pair(
        "import importlib\nload = importlib.import_module\nload(name='tenacity')",
        "tenacity retries",
        "import importlib\nload = importlib.import_module\nload(name='json')",
    ),
    "retry library by __import__": Pair(
        "NAME = 'backoff'\n__import__(NAME)", "backoff retries", "NAME = 'json'\n__import__(NAME)"
    ),
    "retrying transport": Pair(
        "from pydantic_ai.retries import AsyncTenacityTransport", "pydantic_ai.retries", "from httpx import AsyncHTTPTransport"
    ),
    "urllib3's": Pair(
        "from urllib3.util import Retry", "urllib3.util.Retry", "from urllib3.util import Retry\nnone = Retry(total=0)"
    ),
    "urllib3's by attribute": Pair(
        "import urllib3\nonce_more = urllib3.Retry(3)", "urllib3.Retry retries", "import urllib3\nnone = urllib3.Retry(0)"
    ),
    "urllib3's by a longer attribute": Pair(
        "import urllib3\nkind = urllib3.util.Retry", "urllib3.util.Retry retries", "import urllib3\nkind = urllib3.util.Timeout"
    ),
    "asking the model again": Pair(
        "from pydantic_ai import ModelRetry", "asks the model once more", "from pydantic_ai import UnexpectedModelBehavior"
    ),
    "asking the model again by attribute": Pair(
        "import pydantic_ai\nraise pydantic_ai.ModelRetry('no')",
        "asks the model once more",
        "import pydantic_ai\nraise ValueError",
    ),
    # Prefect
    "bare task": Pair(
        f"{TASK}def body(): ...\n\nwrapped = task(body)",
        "a task has no retries=",
        f"{TASK}def body(): ...\n\ntask(body, retries=0)",
    ),
    "bare task decorator": Pair(
        f"{TASK}@task", "task work has no retries=", f"{TASK}@task(retries=3, retry_delay_seconds=[1, 2, 4])"
    ),
    "called task decorator": Pair(f"{TASK}@task(name='x')", "a task has no retries=", f"{TASK}@task(name='x', retries=0)"),
    "renamed task": Pair(
        "import prefect as p\n\n@p.task(name='x')", "a task has no retries=", "import prefect as p\n\n@p.task(retries=0)"
    ),
    "bare flow": Pair(f"{FLOW}@flow", "flow work has no retries=", f"{FLOW}@flow(retries=0, name='x')"),
    "flow with retries": Pair(f"{FLOW}@flow(retries=2)", "a flow has retries=2", f"{FLOW}@flow(retries=0)"),
    "flow with retries from elsewhere": Pair(
        f"{FLOW}N = 2\n\n@flow(retries=N)", "a flow has retries=N", f"{FLOW}N = 0\n\n@flow(retries=N)"
    ),
    "flow with retries in a dict": Pair(
        f"{FLOW}@flow(**{{'retries': 3}})", "a flow has retries=3", f"{FLOW}@flow(**{{'retries': 0}})"
    ),
    "flow given retries": Pair(
        f"{FLOW}@flow(retries=0)\ndef batch(): ...\n\nbatch.with_options(retries=1)",
        "flow batch gets retries=1",
        f"{FLOW}@flow(retries=0)\ndef batch(): ...\n\nbatch.with_options(retries=0)",
    ),
    "imported flow given retries": Pair(
        "from mine import batch\nbatch.with_options(name='x', retries=1)",
        "batch gets retries=1",
        "from mine import batch\nbatch.with_options(name='x')",
    ),
    "task of the same package given retries": Pair(
        "from .work import one\none.with_options(retries=2)",
        "one gets retries=2",
        "from .work import one\none.with_options(retries=0)",
    ),
    "task of a module given retries in a dict": Pair(
        "import mine.work\nmine.work.one.with_options(**{'retries': 3})",
        "mine.work.one gets retries=3",
        f"{TASK}@task(retries=0)\ndef one(): ...\none.with_options(retries=policy.retries)",
    ),
    "retries set on a task": Pair(
        "from mine import t\nt.retries = 3", "t.retries is set to 3", "from mine import t\nt.retries = 0"
    ),
    "retries set by name": Pair(
        "from mine import t\nsetattr(t, 'retries', 3)", "t.retries is set to 3", "from mine import t\nsetattr(t, 'name', 3)"
    ),
    # Settings
    "settings for a while": Pair(
        f"{RETRIES}with temporary_settings({{TASKS: 3}}): ...",
        "PREFECT_TASKS_DEFAULT_RETRIES is set to 3",
        f"{RETRIES}with temporary_settings({{TASKS: 0}}): ...",
    ),
    "settings kept in a name": Pair(
        "import prefect.settings as s\nMORE = {s.PREFECT_FLOWS_DEFAULT_RETRIES: 1}",
        "PREFECT_FLOWS_DEFAULT_RETRIES is set to 1",
        "import prefect.settings as s\nMORE = {s.PREFECT_API_REQUEST_TIMEOUT: 1}",
    ),
    "environment": Pair(
        "import os\nos.environ['PREFECT_TASKS_DEFAULT_RETRIES'] = '3'",
        "PREFECT_TASKS_DEFAULT_RETRIES is set to '3'",
        "import os\nos.environ['PREFECT_TASKS_DEFAULT_RETRIES'] = '0'",
    ),
    "environment by default": Pair(
        "import os\nos.environ.setdefault('PREFECT_FLOW_DEFAULT_RETRIES', '1')",
        "PREFECT_FLOW_DEFAULT_RETRIES is set to '1'",
        "import os\nos.environ.get('PREFECT_FLOW_DEFAULT_RETRIES', '1')",
    ),
    "environment by update": Pair(
        "import os\nos.environ.update(PREFECT_TASKS_DEFAULT_RETRIES='2')",
        "PREFECT_TASKS_DEFAULT_RETRIES is set to '2'",
        "import os\nos.environ.update(PREFECT_TASKS_DEFAULT_RETRIES='0')",
    ),
    "attempts of AWS clients": Pair(
        "import os\nos.environ |= {'AWS_MAX_ATTEMPTS': '3'}",
        "AWS_MAX_ATTEMPTS is set to '3'",
        "import os\nos.environ |= {'AWS_MAX_ATTEMPTS': '1'}",
    ),
    "settings object": Pair(
        "from prefect.settings import get_current_settings\nget_current_settings().tasks.default_retries = 2",
        "default_retries is set to 2",
        "from prefect.settings import get_current_settings\nget_current_settings().tasks.default_retries = 0",
    ),
    # Dask and Ray
    "Dask's re-runs": Pair(
        "import dask\ndask.config.set({'distributed.scheduler.allowed-failures': 3})",
        "allowed-failures is set to 3",
        "import dask\ndask.config.set({'distributed.scheduler.allowed-failures': 0})",
    ),
    "Dask's re-runs in nested settings": Pair(
        "import dask\ndask.config.set({'distributed': {'scheduler': {'allowed-failures': 1}}})",
        "allowed-failures is set to 1",
        "import dask\ndask.config.set({'distributed': {'scheduler': {'allowed-failures': 0}}})",
    ),
    "Dask's re-runs by keyword": Pair(
        "import dask\ndask.config.set(distributed__scheduler__allowed_failures=2)",
        "allowed_failures is set to 2",
        "import dask\ndask.config.set(distributed__scheduler__allowed_failures=0)",
    ),
    "Dask's default": Pair(
        "from dask.distributed import LocalCluster\ncluster = LocalCluster()",
        "runs a document again whose worker died",
        "import dask\nfrom dask.distributed import LocalCluster\n"
        "dask.config.set({'distributed.scheduler.allowed-failures': 0})\ncluster = LocalCluster()",
    ),
    "Dask's default in Prefect's runner": Pair(
        "from prefect_dask import DaskTaskRunner\nrunner = DaskTaskRunner()",
        "prefect_dask.DaskTaskRunner runs a document again",
        "from prefect.task_runners import ThreadPoolTaskRunner\nrunner = ThreadPoolTaskRunner()",
    ),
    "a Dask future's retries": Pair(
        "future = client.submit(work, retries=2)", "gets retries=2", "future = client.submit(work, retries=0)"
    ),
    "Ray's default": Pair("import ray\n\n@ray.remote", "Ray task work runs again", "import ray\n\n@ray.remote(max_retries=0)"),
    "Ray's default beside other options": Pair(
        "import ray\n\n@ray.remote(num_cpus=1)",
        "a Ray task runs again",
        "import ray\n\n@ray.remote(num_cpus=1)\nclass Actor: ...",
    ),
    "Ray's re-runs": Pair(
        "import ray\n\n@ray.remote(max_retries=2)", "gets max_retries=2", "import ray\n\n@ray.remote(max_retries=0)"
    ),
    "Ray's re-runs by options": Pair(
        "work.options(max_retries=3).remote()", "gets max_retries=3", "work.options(max_retries=0).remote()"
    ),
    "Ray's re-runs in Prefect's runner": Pair(
        "from prefect_ray import remote_options\nwith remote_options(max_retries=3): ...",
        "remote_options gets max_retries=3",
        "from prefect_ray import remote_options\nwith remote_options(max_retries=0): ...",
    ),
    # Clients
    "OpenAI's client": Pair(
        "import openai\nclient = openai.AsyncOpenAI()",
        "openai.AsyncOpenAI retries by itself",
        "import openai\nopenai.AsyncOpenAI(max_retries=0)",
    ),
    "OpenAI's client with retries": Pair(
        "from openai import OpenAI\nclient = OpenAI(max_retries=5)",
        "OpenAI gets max_retries=5",
        "from openai import OpenAI\nOpenAI(max_retries=0)",
    ),
    "OpenAI's client with retries in a dict": Pair(
        "from openai import OpenAI\nMORE = dict(max_retries=5)\nclient = OpenAI(**MORE)",
        "OpenAI gets max_retries=5",
        "from openai import OpenAI\nMORE = dict(max_retries=0)\nclient = OpenAI(**MORE)",
    ),
    "a client's maker": Pair(
        "from functools import partial\nfrom openai import OpenAI\nmake = partial(OpenAI, max_retries=5)",
        "gets max_retries=5",
        "from functools import partial\nfrom openai import OpenAI\nmake = partial(OpenAI, max_retries=0)",
    ),
    "a call with retries": Pair(
        f"{OPENAI}client.with_options(max_retries=3)", "gets max_retries=3", f"{OPENAI}client.with_options(max_retries=0)"
    ),
    "a call with retries among its options": Pair(
        "client.chat(text, request_options={'max_retries': 3})",
        "gets max_retries=3 in request_options=",
        "client.chat(text, request_options={'max_retries': 0})",
    ),
    "retries set on a client": Pair(
        f"{OPENAI}client.max_retries = 2", "client.max_retries is set to 2", f"{OPENAI}client.max_retries = 0"
    ),
    "Anthropic's client": Pair(
        "from anthropic import Anthropic\nclient = Anthropic(api_key='x')",
        "anthropic.Anthropic retries",
        "from anthropic import Anthropic\nclient = Anthropic(api_key='x', max_retries=0)",
    ),
    "Groq's client": Pair(
        "import groq\nclient = groq.AsyncGroq()", "groq.AsyncGroq retries", "import groq\nclient = groq.AsyncGroq(max_retries=0)"
    ),
    "Cohere's client": Pair(
        "import cohere\nclient = cohere.AsyncClientV2('key')",
        "cohere.AsyncClientV2 retries",
        "import cohere\nclient = cohere.AsyncClientV2('key', max_retries=0)",
    ),
    "Mistral's client": Pair(
        "from mistralai import Mistral\nclient = Mistral(api_key='x')",
        "mistralai.Mistral leaves its retries to the library",
        "from mistralai import Mistral\nclient = Mistral(api_key='x', retry_config=None)",
    ),
    "Mistral's client with retries": Pair(
        "from mistralai.client import Mistral\nfrom mine import more\nMistral('key', None, None, None, None, None, more)",
        "Mistral gets retry_config=more",
        "from mistralai.client import Mistral\nclient = Mistral('key', None, None, None, None, None, None)",
    ),
    "Google's client": Pair(
        "from google import genai\nclient = genai.Client(api_key='x')",
        "google.genai.Client leaves its retries to the library",
        "from google import genai\nfrom google.genai import types as t\n"
        "client = genai.Client(http_options=t.HttpOptions(retry_options=t.HttpRetryOptions(attempts=1)))",
    ),
    "Google's client with retries": Pair(
        "from google import genai\nclient = genai.Client(http_options={'retry_options': {'attempts': 4}})",
        "gets http_options=",
        "from google import genai\nclient = genai.Client(http_options={'retry_options': {'attempts': 1}})",
    ),
    "Google's options": Pair(
        "from google.genai.types import HttpRetryOptions\noptions = HttpRetryOptions(max_delay=3)",
        "HttpRetryOptions tries five times",
        "from google.genai.types import HttpRetryOptions\noptions = HttpRetryOptions(attempts=1)",
    ),
    "Hugging Face's client": Pair(
        "from huggingface_hub import InferenceClient\nclient = InferenceClient('m')",
        "asks again while a model loads",
        "from huggingface_hub import InferenceClient\nclient = InferenceClient('m', timeout=60)",
    ),
    "Hugging Face's requests": Pair(
        "from huggingface_hub.utils import http_backoff", "http_backoff retries", "from huggingface_hub.utils import get_session"
    ),
    "AWS's client": Pair(
        "import boto3\nclient = boto3.client('bedrock-runtime')",
        "boto3.client retries by itself",
        "import boto3\nfrom botocore.config import Config\nboto3.client('s3', config=Config(retries={'max_attempts': 0}))",
    ),
    "AWS's client of a session": Pair(
        "import boto3\nsession = boto3.Session()\nclient = session.client('s3')",
        "retries by itself",
        "import boto3\nsession = boto3.Session()\nclient = session.client('s3', config=made_elsewhere)",
    ),
    "AWS's configuration": Pair(
        "from botocore.config import Config\nconfig = Config(region_name='x')",
        "botocore.config.Config leaves retries on",
        "from botocore.config import Config\nconfig = Config(region_name='x', retries={'total_max_attempts': 1})",
    ),
    "AWS's configuration with retries": Pair(
        "from botocore.config import Config\nconfig = Config(retries={'max_attempts': 2, 'mode': 'standard'})",
        "Config gets retries=",
        "from botocore.config import Config\nconfig = Config(retries={'max_attempts': 0, 'mode': 'standard'})",
    ),
    "HTTP transport": Pair(
        "import httpx\nclient = httpx.Client(transport=httpx.HTTPTransport(retries=2))",
        "retries=2",
        "import httpx\nclient = httpx.Client(transport=httpx.HTTPTransport(verify=False))",
    ),
    "HTTP transport by position": Pair(
        "import httpx\nhttpx.HTTPTransport(True, None, True, True, False, limits, None, None, None, 2)",
        "HTTPTransport gets retries=2",
        "import httpx\nhttpx.HTTPTransport(True, None, True, True, False, limits, None, None, None, 0)",
    ),
    "HTTP adapter": Pair(
        "from requests.adapters import HTTPAdapter\nHTTPAdapter(max_retries=3)",
        "HTTPAdapter gets max_retries=3",
        "from requests.adapters import HTTPAdapter\nHTTPAdapter(max_retries=0)",
    ),
    "HTTP adapter by position": Pair(
        "from requests.adapters import HTTPAdapter\nHTTPAdapter(10, 10, 3)",
        "HTTPAdapter gets max_retries=3",
        "import urllib3\nfrom requests.adapters import HTTPAdapter\nHTTPAdapter(10, 10, urllib3.Retry(0))",
    ),
    "connection pool": Pair(
        "import urllib3\npool = urllib3.PoolManager()",
        "urllib3.PoolManager retries by itself",
        "import urllib3\nurllib3.PoolManager(retries=False)",
    ),
    "connection pool's request": Pair(
        "import urllib3\npool = urllib3.PoolManager(retries=False)\npool.request('GET', url, retries=2)",
        "pool.request gets retries=2",
        "import urllib3\npool = urllib3.PoolManager(retries=False)\npool.request('GET', url)",
    ),
    "wrapped call": Pair(
        "answer = (prompt | model).with_retry().invoke(text)", "retries what it wraps", "answer = (prompt | model).invoke(text)"
    ),
    # pydantic-ai
    "agent": Pair(
        f"{AGENT}agent = Agent(model)", "pydantic_ai.Agent retries by itself", f"{AGENT}agent = Agent(model, retries=0)"
    ),
    "agent with one of its budgets": Pair(
        f"{AGENT}agent = Agent(model, retries={{'output': 0}})",
        "Agent gets retries=",
        f"{AGENT}agent = Agent(model, retries={{'tools': 0, 'output': 0}})",
    ),
    "agent with budgets by their type": Pair(
        "from pydantic_ai import Agent, AgentRetries\nagent = Agent(model, retries=AgentRetries(tools=0, output=1))",
        "Agent gets retries=",
        "from pydantic_ai import Agent, AgentRetries\nagent = Agent(model, retries=AgentRetries(tools=0, output=0))",
    ),
    "agent's model by name": Pair(
        f"{AGENT}agent = Agent('openai:gpt-5', retries=0)", "the client behind", f"{AGENT}agent = Agent('test', retries=0)"
    ),
    "agent's model by name and keyword": Pair(
        f"{AGENT}agent = Agent(model='openai:gpt-5', retries=0)",
        "the client behind",
        f"{AGENT}agent = Agent(model=mine, retries=0)",
    ),
    "agent's model by a name kept": Pair(
        f"{AGENT}MODEL = 'openai:gpt-5'\nagent = Agent(MODEL, retries=0)",
        "the client behind the model 'openai:gpt-5'",
        f"{AGENT}agent = Agent(MODEL, retries=0)",
    ),
    "a run's model by name": Pair(
        f"{AGENT}agent = Agent(mine, retries=0)\nagent.run_sync(text, model='openai:gpt-5')",
        "the client behind",
        f"{AGENT}agent = Agent(mine, retries=0)\nagent.run_sync(text, model=other)",
    ),
    "a run with retries": Pair(
        f"{AGENT}agent = Agent(mine, retries=0)\nagent.run_sync(text, retries=2)",
        "agent.run_sync gets retries=2",
        f"import pydantic_ai as p\n{AGENT}agent = Agent(mine, retries=0, model_settings=p.ModelSettings(max_retries=0))",
    ),
    "model": Pair(
        "from pydantic_ai.models.openai import OpenAIChatModel\nmodel = OpenAIChatModel('m')",
        "OpenAIChatModel makes a client that retries by itself",
        "from pydantic_ai.models.openai import OpenAIChatModel\nmodel = OpenAIChatModel('m', provider=mine)",
    ),
    "model's provider by name": Pair(
        "from pydantic_ai.models.anthropic import AnthropicModel\nmodel = AnthropicModel('m', provider='anthropic')",
        "AnthropicModel gets provider='anthropic'",
        "from pydantic_ai.models.anthropic import AnthropicModel\nmodel = AnthropicModel('m', provider=mine)",
    ),
    "inferred model": Pair(
        "from pydantic_ai.models import infer_model\nmodel = infer_model('openai:gpt-5')",
        "infer_model makes a client",
        "from pydantic_ai.models import infer_model\nmodel = infer_model('openai:gpt-5', provider_factory=mine)",
    ),
    "inferred provider": Pair(
        "from pydantic_ai.providers import infer_provider",
        "infer_provider makes a client",
        "from pydantic_ai.providers import Provider",
    ),
    "provider": Pair(
        "from pydantic_ai.providers.openai import OpenAIProvider\nOpenAIProvider(api_key='x')",
        "OpenAIProvider retries by itself",
        f"{OPENAI}from pydantic_ai.providers.openai import OpenAIProvider\nOpenAIProvider(openai_client=client)",
    ),
    "local provider": Pair(
        "from pydantic_ai.providers.ollama import OllamaProvider\nOllamaProvider(base_url='http://127.0.0.1:11434/v1')",
        "OllamaProvider retries by itself",
        f"{OPENAI}from pydantic_ai.providers.ollama import OllamaProvider\nOllamaProvider(None, None, client)",
    ),
}

# What looks like retries and isn't.
INNOCENT = [
    "from mine import task\n\n@task\ndef work(): ...",
    "def configure(max_retries: int = 3): ...",
    "from compat.contracts import BatchConfig\nBatchConfig(max_retries=2)",
    "class Client:\n    def __init__(self, retries: int) -> None:\n        self.retries = retries",
    "from pydantic_ai import ModelSettings\nsettings = ModelSettings(max_retries=0)",
    "report = {'retries': 3, 'documents': 5}",
    "import os\nretries = os.environ.get('AWS_MAX_ATTEMPTS', '3')",
    "from concurrent.futures import ThreadPoolExecutor\nThreadPoolExecutor(max_workers=3)",
]


@pytest.mark.parametrize("rule", PAIRS)
def test_a_second_owner_in_the_code_is_found_at_its_line(rule: str) -> None:
    source, said, _ = PAIRS[rule]
    findings = audit_source(_whole(source), "some.py")
    assert [finding.where for finding in findings] == [f"some.py:{len(source.splitlines())}"]
    assert said in findings[0].what
    assert findings[0].advice


@pytest.mark.parametrize("rule", PAIRS)
def test_the_same_code_mended_is_no_finding(rule: str) -> None:
    assert audit_source(_whole(PAIRS[rule].mended), "some.py") == []


@pytest.mark.parametrize("source", INNOCENT)
def test_what_only_looks_like_retries_is_no_finding(source: str) -> None:
    assert audit_source(source, "some.py") == []


def test_a_file_that_does_not_parse_is_said_and_not_skipped() -> None:
    (finding,) = audit_source("def work(:\n", "some.py")
    assert finding.where == "some.py:1"
    assert "can't be read" in finding.what


def _whole(source: str) -> str:
    """Return a file that ends with a decorator with something to decorate."""
    return source + "\ndef work(): ..." if source.splitlines()[-1].startswith("@") else source


def test_the_rules_name_what_the_installed_libraries_have() -> None:
    wrong, seen = [], 0
    for name in (*CLIENTS, *MODELS_BY_NAME):
        made = _made(name)
        if made is None:
            continue
        seen += 1
        wanted, position = (CLIENTS[name].name, CLIENTS[name].position) if name in CLIENTS else ("model", MODELS_BY_NAME[name])
        parameters = list(inspect.signature(made).parameters.values())
        by_place = [one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD]
        by_name = {one.name for one in parameters if one.kind is one.KEYWORD_ONLY}
        open_end = any(one.kind is one.VAR_KEYWORD for one in parameters)
        if wanted in by_place:
            wrong += [name] if position != by_place.index(wanted) else []
        elif not open_end:
            wrong += [name] if wanted not in by_name or position is not None else []
    assert wrong == []
    assert seen > 2


def _made(name: str) -> Any:
    """Return the class or function of a rule, None where its library isn't installed or has none of that name."""
    module, _, maker = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), maker)
    except (ImportError, AttributeError):
        return None
