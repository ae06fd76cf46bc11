"""The same fault scripts through the engine: all that anybody can see equals what legacy was recorded to do."""

import json
from pathlib import Path
from typing import Any

import pytest

import faults
import flows
from observation import observe

GOLDEN = Path(__file__).parents[1] / "legacy" / "golden"
POLICIES = ("continue-on-failure", "abort-all", "retry-failed")


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("concurrency", [pytest.param(1, marks=pytest.mark.slow), 3, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.parametrize("resolution", [True, False], ids=["resolution", "no-resolution"])
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("script", faults.SCRIPTS)
def test_the_engine_does_what_legacy_does(
    script: str, policy: str, resolution: bool, concurrency: int, environment: pytest.MonkeyPatch, request_of: Any
) -> None:
    request = request_of(faults.SCRIPTS[script], concurrency=concurrency, failurePolicy=policy, enableEntityResolution=resolution)
    seen = json.dumps(observe(flows.run_batch(request, mode="engine")))
    # The two things that a row is meant to say differently.
    seen = seen.replace(f'"concurrency": {concurrency}', '"concurrency": "any"').replace(
        '"executionMode": "engine"', '"executionMode": "legacy"'
    )
    golden = json.loads((GOLDEN / f"{script}.json").read_text(encoding="utf-8"))
    assert json.loads(seen) == golden[f"{policy}, resolution {'on' if resolution else 'off'}"]
