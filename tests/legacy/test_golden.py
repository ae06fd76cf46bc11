"""What the old orchestrator does under every fault script, recorded; from here on it is frozen.

`REGEN=1 pytest tests/legacy/test_golden.py` records anew, which only a defect against CONTRACT.md
justifies. `test_golden_contract.py` holds the records against the contract.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

import faults
import flows
from observation import observe

GOLDEN = Path(__file__).parent / "golden"
POLICIES = ("continue-on-failure", "abort-all", "retry-failed")
CASES = [(script, policy, resolution) for script in faults.SCRIPTS for policy in POLICIES for resolution in (True, False)]


def name_of(policy: str, resolution: bool) -> str:
    return f"{policy}, resolution {'on' if resolution else 'off'}"


@pytest.mark.parametrize("concurrency", [1, 3, 20])
@pytest.mark.parametrize(("script", "policy", "resolution"), CASES)
def test_legacy_does_what_was_recorded(
    script: str, policy: str, resolution: bool, concurrency: int, environment: pytest.MonkeyPatch, request_of: Any
) -> None:
    request = request_of(faults.SCRIPTS[script], concurrency=concurrency, failurePolicy=policy, enableEntityResolution=resolution)
    seen = json.loads(
        json.dumps(observe(flows.run_batch(request, mode="legacy"))).replace(
            f'"concurrency": {concurrency}', '"concurrency": "any"'
        )
    )
    file = GOLDEN / f"{script}.json"
    golden = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if os.environ.get("REGEN") == "1" and concurrency == 1:
        golden[name_of(policy, resolution)] = seen
        GOLDEN.mkdir(exist_ok=True)
        file.write_text(json.dumps(golden, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
    assert seen == golden[name_of(policy, resolution)]
