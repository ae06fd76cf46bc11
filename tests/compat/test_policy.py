"""The policy table and its arithmetic."""

import pytest

from compat.contracts import BatchConfig, FailurePolicy
from compat.policy import documents_per_task, retry_policy, terminal_status


@pytest.mark.parametrize(
    ("policy", "owner", "delays", "sequential"),
    [
        ("continue-on-failure", "activity", (1.0, 2.0, 4.0), False),
        ("abort-all", "activity", (1.0, 2.0, 4.0), True),
        ("retry-failed", "orchestrator", (0.0, 0.0, 0.0, 0.0, 0.0), False),
    ],
)
def test_a_policy_has_one_owner_with_its_waits(policy: str, owner: str, delays: tuple[float, ...], sequential: bool) -> None:
    found = retry_policy(BatchConfig(failure_policy=FailurePolicy(policy), max_retries=5))
    assert (found.owner, found.delays, found.sequential, found.attempts) == (owner, delays, sequential, 1 + len(delays))


def test_waits_are_multiples_of_the_base() -> None:
    assert retry_policy(BatchConfig(), base_seconds=0.5).delays == (0.5, 1.0, 2.0)


@pytest.mark.parametrize("resolution", [True, False])
@pytest.mark.parametrize("concurrency", [1, 3, 20])
@pytest.mark.parametrize("documents", [0, 1, 7, 24, 25, 160, 500, 20_000])
def test_task_runs_stay_at_eight_times_the_concurrency(documents: int, concurrency: int, resolution: bool) -> None:
    config = BatchConfig(concurrency=concurrency, enable_entity_resolution=resolution)
    size = documents_per_task(config, documents)
    task_runs = -(-documents // size) + resolution
    assert task_runs <= 8 * concurrency


def test_abort_all_takes_one_document_a_task_whatever_the_setting() -> None:
    assert documents_per_task(BatchConfig(failure_policy=FailurePolicy.ABORT_ALL), 500, 50) == 1


@pytest.mark.parametrize(("successes", "failures", "status"), [(0, 0, "completed"), (1, 9, "completed"), (0, 1, "failed")])
def test_only_a_batch_without_any_success_has_failed(successes: int, failures: int, status: str) -> None:
    assert terminal_status(successes, failures) == status
