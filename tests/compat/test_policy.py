"""The policy table and its arithmetic."""

from pathlib import Path

import pytest

from compat import policy
from compat.contracts import BatchConfig, FailurePolicy
from compat.policy import next_round, retry_policy, terminal_status
from legacy import orchestrator


@pytest.mark.parametrize(
    ("name", "owner", "delays", "sequential"),
    [
        ("continue-on-failure", "activity", (1.0, 2.0, 4.0), False),
        ("abort-all", "activity", (1.0, 2.0, 4.0), True),
        ("retry-failed", "orchestrator", (0.0, 0.0, 0.0, 0.0, 0.0), False),
    ],
)
def test_a_policy_has_one_owner_with_its_waits(name: str, owner: str, delays: tuple[float, ...], sequential: bool) -> None:
    found = retry_policy(BatchConfig(failure_policy=FailurePolicy(name), max_retries=5))
    assert (found.owner, found.delays, found.sequential, found.attempts) == (owner, delays, sequential, 1 + len(delays))


def test_every_policy_has_its_rule_its_loop_and_its_row_in_the_docs() -> None:
    assert set(policy._RULES) == set(orchestrator._POLICIES) == set(FailurePolicy)
    docs = Path(__file__).parents[2] / "docs"
    for page in ("contract.md", "explanation/retries.md"):
        text = (docs / page).read_text(encoding="utf-8")
        assert [each for each in FailurePolicy if f"\n| `{each}` | " not in text] == []


def test_waits_are_multiples_of_the_base() -> None:
    assert retry_policy(BatchConfig(), base_seconds=0.5).delays == (0.5, 1.0, 2.0)


@pytest.mark.parametrize(
    ("attempts", "round_"),
    [
        ({}, []),
        ({"b": 0, "a": 0}, ["b", "a"]),
        ({"a": 1, "b": 0, "c": 2, "d": 0}, ["b", "d"]),
    ],
)
def test_a_round_is_of_those_with_the_fewest_attempts_in_request_order(attempts: dict[str, int], round_: list[str]) -> None:
    assert next_round(attempts) == round_


@pytest.mark.parametrize(("successes", "failures", "status"), [(0, 0, "completed"), (1, 9, "completed"), (0, 1, "failed")])
def test_only_a_batch_without_any_success_has_failed(successes: int, failures: int, status: str) -> None:
    assert terminal_status(successes, failures) == status
