"""R2: the audit finds a second owner of retries wherever one creeps in, and nothing in what is."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

import faults
import flows
from compat.errors import BatchNotFoundError
from compat.store import Store
from flows.operations.audit import PACKAGES, audit, audit_ledger, audit_source

REPOSITORY = Path(flows.__file__).parents[1]

# A second owner, and what the audit says of it; the offending line is the last.
SECOND_OWNERS = {
    "retry library": ("import tenacity", "tenacity retries"),
    "retry library by name": ("from tenacity import retry as again", "tenacity.retry retries"),
    "retry library in a function": ("def call():\n    import backoff", "backoff retries"),
    "retry library at run time": ("import importlib\nimportlib.import_module('stamina')", "stamina retries"),
    "retrying transport": ("from pydantic_ai.retries import AsyncTenacityTransport", "pydantic_ai.retries"),
    "urllib3's": ("from urllib3.util import Retry", "urllib3.util.Retry"),
    "bare task": ("from prefect import task\n\ndef body(): ...\n\nwrapped = task(body)", "a task has no retries="),
    "bare task decorator": ("from prefect import task\n\n@task", "task work has no retries="),
    "called task decorator": ("from prefect import task\n\n@task(name='x')", "a task has no retries="),
    "renamed task": ("import prefect as p\n\n@p.task(name='x')", "a task has no retries="),
    "bare flow": ("from prefect import flow\n\n@flow", "flow work has no retries="),
    "flow with retries": ("from prefect import flow\n\n@flow(retries=2)", "a flow has retries=2"),
    "flow with retries from elsewhere": ("from prefect import flow\nN = 2\n\n@flow(retries=N)", "a flow has retries=N"),
    "flow given retries": (
        "from prefect import flow\n\n@flow(retries=0)\ndef batch(): ...\n\nbatch.with_options(retries=1)",
        "flow batch gets retries=1",
    ),
    "OpenAI's client": ("import openai\nclient = openai.AsyncOpenAI()", "openai.AsyncOpenAI retries by itself"),
    "OpenAI's client with retries": ("from openai import OpenAI\nclient = OpenAI(max_retries=5)", "OpenAI gets max_retries=5"),
    "a call with retries": (
        "from openai import OpenAI\nclient = OpenAI(max_retries=0)\nclient.with_options(max_retries=3)",
        "gets max_retries=3",
    ),
    "Anthropic's client": ("from anthropic import Anthropic\nclient = Anthropic(api_key='x')", "anthropic.Anthropic retries"),
    "HTTP transport": ("import httpx\nclient = httpx.Client(transport=httpx.HTTPTransport(retries=2))", "retries=2"),
    "HTTP adapter": ("from requests.adapters import HTTPAdapter\nHTTPAdapter(max_retries=3)", "HTTPAdapter gets max_retries=3"),
    "connection pool": ("import urllib3\npool = urllib3.PoolManager()", "urllib3.PoolManager retries by itself"),
    "agent": ("from pydantic_ai import Agent\nagent = Agent(model)", "pydantic_ai.Agent retries by itself"),
    "agent's model by name": ("from pydantic_ai import Agent\nagent = Agent('openai:gpt-5', retries=0)", "the client behind"),
    "provider": (
        "from pydantic_ai.providers.openai import OpenAIProvider\nOpenAIProvider(api_key='x')",
        "OpenAIProvider retries by itself",
    ),
}
ONE_OWNER = [
    "from prefect import task\n\n@task(retries=0)\ndef work(): ...",
    "from prefect import task\n\n@task(retries=3, retry_delay_seconds=[1, 2, 4])\ndef work(): ...",
    "from prefect import flow\n\n@flow(retries=0, name='x')\ndef work(): ...",
    "from openai import OpenAI\nclient = OpenAI(max_retries=0)",
    "from pydantic_ai import Agent\nagent = Agent(model, retries=0)",
    "import httpx\nclient = httpx.Client(timeout=3)",
    "import urllib3\npool = urllib3.PoolManager(retries=False)",
    "from mine import task\n\n@task\ndef work(): ...",
    "def configure(max_retries: int = 3): ...",
    "from compat.contracts import BatchConfig\nBatchConfig(max_retries=2)",
]


@pytest.mark.parametrize("owner", SECOND_OWNERS)
def test_a_second_owner_in_the_code_is_found_at_its_line(owner: str) -> None:
    source, said = SECOND_OWNERS[owner]
    line = len(source.splitlines())
    if source.splitlines()[-1].startswith("@"):
        source += "\ndef work(): ..."
    findings = audit_source(source, "some.py")
    assert [finding.where for finding in findings] == [f"some.py:{line}"]
    assert said in findings[0].what
    assert findings[0].advice


@pytest.mark.parametrize("source", ONE_OWNER)
def test_one_owner_is_no_finding(source: str) -> None:
    assert audit_source(source, "some.py") == []


# What somebody may do to our own code one day: file, what stands there, what stands there then.
MUTATIONS = {
    "tasks/resolve.py": ("retries=0, ", ""),
    "tasks/extract.py": ("    retries=0,\n", ""),
    "flows/engine/extract_batch.py": ("retries=0", "retries=1"),
    "flows/operations/reconcile.py": ("retries=0, ", ""),
    "flows/deployed.py": ('name="run-batch",\n    retries=0', 'name="run-batch",\n    retries=3'),
    "tasks/extraction/__init__.py": ("\nfrom ", "\nimport tenacity\nfrom "),
    "compat/recording/recorder.py": ("\nimport ", "\nimport backoff\nimport "),
}


@pytest.mark.parametrize("file", MUTATIONS)
def test_a_change_of_our_own_code_is_found(file: str) -> None:
    source = (REPOSITORY / file).read_text(encoding="utf-8")
    before, after = MUTATIONS[file]
    assert before in source
    assert audit_source(source, file) == []
    findings = audit_source(source.replace(before, after, 1), file)
    assert [finding.where.partition(":")[0] for finding in findings] == [file]


@pytest.mark.usefixtures("on_any_database", "prefect_server")
@pytest.mark.parametrize("mode", ["legacy", "engine"])
def test_the_ledger_of_real_batches_adds_up_owner_by_owner(mode: str, request_of: Any) -> None:
    for policy in ("continue-on-failure", "abort-all", "retry-failed"):
        flows.run_batch(request_of(faults.SCRIPTS["mixed"], batch_id=policy, failurePolicy=policy), mode)
    flows.run_batch(request_of([faults.document("late", fail=5)], batch_id="again", failurePolicy="retry-failed"), mode)
    flows.resume_batch("again", mode)
    found = audit(Store.from_settings(), faults.NAME)
    assert found.findings == ()
    assert found.files > len(PACKAGES)
    assert sum(owner.attempts for owner in found.ledger) == sum(faults.knocks().values())
    assert {owner.owner: owner.batches for owner in found.ledger} == {"activity": 2, "orchestrator": 2}


COPY = (
    "INSERT INTO knowledge_workflow_activity (id, organization_id, created_at, updated_at, execution_id, activity_name, status,"
    " input, output, error, started_at, completed_at, attempt, duration_ms)"
    " SELECT id || '{number}', organization_id, created_at, updated_at, execution_id, activity_name, status,"
    " input, output, error, started_at, completed_at, {number}, duration_ms FROM knowledge_workflow_activity WHERE attempt = 1"
)
DRIFTS = {
    "an attempt more": (COPY.format(number=2), "was tried again after attempt 1 had succeeded"),
    "an attempt twice": (COPY.format(number=1), "attempt 1 is on record more than once"),
    "over the budget": (";".join(COPY.format(number=number) for number in (2, 3, 4, 5)), "5 attempts, its budget is 4"),
    "an attempt lost": ("DELETE FROM knowledge_workflow_activity", "its outcome counts 1 attempts, 0 are on record"),
    "another owner": (
        "UPDATE knowledge_workflow_execution SET input = CAST(replace(CAST(input AS text), 'activity', 'orchestrator') AS {json})"
        " WHERE workflow_type = 'extraction'",
        "its row names the owner orchestrator, its policy activity",
    ),
}


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("drift", DRIFTS)
def test_rows_that_drift_from_the_policy_are_found_by_document(drift: str, request_of: Any) -> None:
    statements, said = DRIFTS[drift]
    flows.run_batch(request_of([faults.document("a")], batch_id="drifted"))
    store = Store.from_settings()
    json = "JSONB" if store.database.dialect == "postgresql" else "TEXT"
    assert audit_ledger(store, "drifted")[1] == []
    with store.database.write() as connection:
        for statement in statements.split(";"):
            connection.execute(text(statement.format(json=json)))
    findings = audit_ledger(store, "drifted")[1]
    assert any(finding.what == said for finding in findings)
    assert {finding.where for finding in findings} == {"batch drifted, document a"}


@pytest.mark.usefixtures("environment")
def test_an_unknown_batch_has_no_ledger() -> None:
    with pytest.raises(BatchNotFoundError):
        audit_ledger(Store.from_settings(), "nobody")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, []),
        (
            {
                "PREFECT_TASKS_DEFAULT_RETRIES": "3",
                "PREFECT_FLOWS_DEFAULT_RETRIES": "1",
                "KNOWLEDGE_EXTRACTOR": "outsider:factory",
            },
            ["outsider.py:1: tenacity retries", "PREFECT_TASKS_DEFAULT_RETRIES: is 3", "PREFECT_FLOWS_DEFAULT_RETRIES: is 1"],
        ),
    ],
    ids=["nothing", "code and settings"],
)
def test_the_command_exits_1_with_what_it_finds(
    variables: dict[str, str], said: list[str], environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "outsider.py").write_text("import tenacity\n", encoding="utf-8")
    environment.setenv("PYTHONPATH", str(tmp_path))
    environment.setenv("KNOWLEDGE_EXTRACTOR", "rules")
    environment.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    for name, value in variables.items():
        environment.setenv(name, value)
    done = subprocess.run(
        [sys.executable, "-m", "flows.command.cli", "retries", "audit", "--format", "json"],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    findings = json.loads(done.stdout)["findings"]
    assert done.returncode == (1 if said else 0), done.stderr
    assert len(findings) == len(said)
    for finding, words in zip(findings, said, strict=True):
        assert words in f"{finding['where']}: {finding['what']}"
