"""The real documents through both runtimes: equal document by document, at a bounded number of task runs."""

import json
import time
from pathlib import Path
from typing import Any

import processes
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter

import flows
from compat.contracts import BatchResult
from flows.sources import readers as sources

EVERY_RUN = ["text2kg/7_space", "text2kg/10_culture"]
IN_FULL = [
    "redocred",
    "text2kg/1_movie",
    "text2kg/2_music",
    "text2kg/3_sport",
    "text2kg/4_book",
    "text2kg/6_computer",
    "text2kg/9_nature",
]
CONCURRENCY = 3


def content(result: BatchResult) -> dict[str, Any]:
    """Every document's graph; how long it took is the one thing that may differ."""
    found = {}
    for item in result.document_results:
        seen = item.result.model_dump(mode="json")
        if item.result.ok:
            seen["extraction"]["stats"].pop("durationMs")
        found[item.document_id] = json.dumps(seen, sort_keys=True)
    return found


def task_runs(batch_id: str, at_least: int) -> int:
    """How many task runs the server knows of a batch's flow run, once it knows of that many; they reach it late."""
    with get_client(sync_client=True) as client:
        only = FlowRunFilter.model_validate({"name": {"any_": [f"{batch_id} (engine)"]}})
        deadline = time.monotonic() + processes.PATIENCE
        while time.monotonic() < deadline:
            found = len(client.read_task_runs(flow_run_filter=only, limit=200))
            if found >= at_least:
                return found
            time.sleep(0.2)
    raise AssertionError(f"after {processes.PATIENCE:g} s the server knows of {found} task runs, not of {at_least}")


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("folder", [*EVERY_RUN, *(pytest.param(folder, marks=pytest.mark.slow) for folder in IN_FULL)])
def test_both_runtimes_find_the_same_graphs(folder: str, data: Path, environment: pytest.MonkeyPatch, request_of: Any) -> None:
    environment.delenv("KNOWLEDGE_EXTRACTOR")
    source = sources.load(str(data / folder))
    legacy, engine = (flows.run_batch(request_of(list(source), concurrency=CONCURRENCY), mode) for mode in ("legacy", "engine"))
    assert legacy.total_documents == legacy.success_count == len(source)
    assert legacy.relation_count > 0
    counts = {"batch_id", "document_results"}
    assert engine.model_dump(exclude=counts) == legacy.model_dump(exclude=counts)
    assert content(engine) == content(legacy)
    # A lane a place, and the resolution.
    assert task_runs(engine.batch_id, at_least=CONCURRENCY + 1) == CONCURRENCY + 1
