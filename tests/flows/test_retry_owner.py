"""R2: a document that fails k times comes to the extractor as often as CONTRACT 4 allows, whatever Prefect's defaults say."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import faults

BUDGET = {"continue-on-failure": 4, "abort-all": 4, "retry-failed": 3}
FAILURES = range(6)
# A process of its own: Prefect reads its default retries when tasks and flows are declared.
PROGRAM = """
import json, sys
import flows
for request in json.load(sys.stdin):
    flows.run_batch(request, mode=sys.argv[1])
"""


@pytest.mark.usefixtures("prefect_server")
# Under Prefect's own default, 0, every other test runs as well.
@pytest.mark.parametrize("default_retries", [pytest.param(0, marks=pytest.mark.slow), 3])
@pytest.mark.parametrize("mode", ["legacy", "engine"])
def test_attempts_at_the_door_equal_the_budget(
    mode: str, default_retries: int, environment: pytest.MonkeyPatch, request_of: Any, tmp_path: Path
) -> None:
    wanted, requests = {}, []
    for policy, budget in BUDGET.items():
        # Under abort-all the first failure ends the batch, so every document has a batch of its own there.
        names = [f"{policy} {failures}" for failures in FAILURES]
        documents = [faults.document(name, fail=failures) for name, failures in zip(names, FAILURES, strict=True)]
        groups = [[document] for document in documents] if policy == "abort-all" else [documents]
        requests += [request_of(group, failurePolicy=policy) for group in groups]
        wanted |= {name: min(failures + 1, budget) for name, failures in zip(names, FAILURES, strict=True)}
    prefect = {f"PREFECT_{what}_DEFAULT_RETRIES": str(default_retries) for what in ("TASKS", "FLOWS")}
    api = {"PREFECT_API_URL": _api_url()} if mode == "engine" else {}
    subprocess.run(
        [sys.executable, "-c", PROGRAM, mode],
        input=json.dumps(requests),
        text=True,
        check=True,
        env={**os.environ, **prefect, **api, "PYTHONPATH": os.pathsep.join([str(Path(faults.__file__).parent), *sys.path])},
    )
    assert faults.knocks() == wanted


def _api_url() -> str:
    from prefect.settings import PREFECT_API_URL

    return PREFECT_API_URL.value() or ""
