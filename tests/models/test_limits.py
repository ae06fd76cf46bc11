"""A provider's limits hold over threads, batches and processes; a batch that has to end, or has no tokens left, ends well."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import processes
import pytest
import quickmodel
from fakemodel import FakeModel, Say, chunks_of, text_of
from models.conftest import documents

import flows
from compat.contracts import Failed
from compat.store import Store
from compat.store.models import ModelStore
from compat.store.models.limits import Limiter, Limits

# How far a request may be on its way when the answer that holds it back is written.
ON_ITS_WAY = 0.5


def taken(limiter: Limiter, limits: Limits, batch_id: str, seconds: float, tokens: int = 1) -> list[float]:
    """When a batch that always wants more got a request through."""
    began = time.monotonic()
    moments = []
    while time.monotonic() - began < seconds:
        if wait := limiter.take(limits, batch_id, tokens):
            time.sleep(wait)
        else:
            moments.append(time.monotonic() - began)
    return moments


def test_a_limit_is_held_and_used_up(environment: pytest.MonkeyPatch) -> None:
    limiter = Limiter(Store.from_settings().database)
    limits = Limits("key", requests_per_minute=600)
    with ThreadPoolExecutor(3) as pool:
        moments = [each for found in pool.map(lambda _: taken(limiter, limits, "b", 3.0), range(3)) for each in found]
    # Ten a second, and one second's worth at the start.
    assert 25 <= len(moments) <= 30 + 11


def test_tokens_count_against_their_limit_and_are_corrected(environment: pytest.MonkeyPatch) -> None:
    limiter = Limiter(Store.from_settings().database)
    limits = Limits("key", tokens_per_minute=6_000)
    assert limiter.take(limits, "b", 500) == 0
    assert limiter.take(limits, "b", 500) > 0
    limiter.correct(limits, -450)
    assert limiter.take(limits, "b", 500) == 0


def test_a_small_batch_is_not_held_up_by_a_large_one(environment: pytest.MonkeyPatch) -> None:
    limiter = Limiter(Store.from_settings().database)
    limits = Limits("key", requests_per_minute=600)
    with ThreadPoolExecutor(3) as pool:
        large = [pool.submit(taken, limiter, limits, "large", 3.0) for _ in range(2)]
        small = pool.submit(taken, limiter, limits, "small", 3.0)
        # The first second has the start's burst in it, which is for whoever comes.
        of_large, of_small = (sum(moment > 1 for each in some for moment in each.result()) for some in (large, [small]))
    assert of_small >= 0.4 * (of_large + of_small)


@pytest.mark.slow
def test_sixty_requests_a_minute_are_held_within_5_percent_over_two_minutes(
    model: FakeModel, environment: pytest.MonkeyPatch, request_of: Any
) -> None:
    environment.setenv("KNOWLEDGE_LLM_REQUESTS_PER_MINUTE", "60")
    requests = [
        json.dumps(request_of(documents(*(text_of(1000 * half + n) for n in range(80))), f"b{half}", concurrency=8))
        for half in range(2)
    ]
    children = [processes.start(processes.RUN, "legacy", request=request) for request in requests]
    processes.wait_until(lambda: model.requests > 0, 60)
    began = model.seen[0].at
    processes.wait_until(lambda: time.time() - began > 121, 200, pause=0.2)
    made = sum(seen.at - began <= 120 for seen in model.seen)
    assert 114 <= made <= 126
    for child in children:
        child.kill()
        child.wait()


@pytest.mark.parametrize(
    ("count", "after"), [(1, 1), pytest.param(2, 3, marks=pytest.mark.slow)], ids=["one process", "two processes"]
)
def test_nobody_asks_while_a_provider_wants_to_be_left_alone(
    model: FakeModel, environment: pytest.MonkeyPatch, request_of: Any, count: int, after: int
) -> None:
    environment.setenv("KNOWLEDGE_RETRY_BASE_SECONDS", "0.05")
    model.seconds = 0.02
    refused: list[float] = []

    def script(seen: Any, times: int) -> Say | None:
        # A window in the middle of the work: whoever asks in it is refused.
        if len(model.seen) >= 30 and (not refused or time.time() < refused[0] + after):
            refused.append(time.time())
            return Say({"error": {"message": "slow down"}}, status=429, headers={"retry-after": str(after)})
        return None

    model.script = script
    requests = [
        request_of(documents(*(text_of(1000 * part + n) for n in range(60))), f"b{part}", concurrency=8) for part in range(count)
    ]
    if count == 1:
        flows.run_batch(requests[0], "legacy")
    else:
        children = [processes.start(processes.RUN, "legacy", request=json.dumps(request)) for request in requests]
        for child in children:
            assert child.wait(timeout=200) == 0
    assert refused
    during = [seen.at for seen in model.seen if refused[0] + ON_ITS_WAY < seen.at < refused[0] + after]
    assert during == []
    # Those that were on their way together lost one attempt each, and no document its last one.
    assert len(refused) <= 8 * count
    for part in range(count):
        assert Store.from_settings().result(f"b{part}").success_count == 60
    assert any(refused[0] + after <= at <= refused[0] + after + 10 for at in model.answered_at)


def test_a_batch_stops_before_it_passes_its_budget_and_goes_on_with_a_larger_one(
    model: FakeModel, environment: pytest.MonkeyPatch, ledger: Callable[[], ModelStore], request_of: Any
) -> None:
    model.script = lambda seen, times: None
    environment.setenv("KNOWLEDGE_LLM_TOKEN_BUDGET", "3000")
    request = request_of(documents(*(text_of(n) for n in range(40))), "b", concurrency=4)
    flows.run_batch(request, "legacy")
    state = flows.get_status("b")
    assert isinstance(state, Failed)
    totals = ledger().totals("b")
    assert 0 < totals.tokens <= 3000
    assert f"{totals.tokens} of the KNOWLEDGE_LLM_TOKEN_BUDGET of 3000 tokens are spent" in state.error
    assert f"{40 - totals.made} documents are missing" in state.error
    assert "go on with knowledge-batch resume b" in state.error
    environment.setenv("KNOWLEDGE_LLM_TOKEN_BUDGET", "100000")
    assert flows.resume_batch("b", "legacy").success_count == 40
    assert (model.requests, ledger().totals("b").paid_twice) == (40, 0)
    # A stop is nobody's attempt.
    assert {len(document.attempts) for document in Store.from_settings().attempts("b")} == {1}


@pytest.mark.parametrize("mode", ["legacy", "engine"])
def test_a_cancel_stops_the_calls_in_flight_and_loses_no_answer(
    model: FakeModel, prefect_server: None, environment: pytest.MonkeyPatch, request_of: Any, mode: str
) -> None:
    environment.setenv("KNOWLEDGE_LEASE_SECONDS", "4")
    # The first chunks are answered at once, the others never.
    model.script = lambda seen, times: Say(how="hang") if model.requests > 5 else None
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(flows.run_batch, request_of(documents(chunks_of(20)), "b", concurrency=2), mode)
        processes.wait_until(lambda: model.requests >= 7, 60)
        began = time.monotonic()
        flows.cancel_batch("b")
        running.result(timeout=60)
        assert time.monotonic() - began < 10
    assert type(flows.get_status("b")).__name__ == "Cancelled"
    model.script = lambda seen, times: None
    asked = model.requests
    flows.run_batch(request_of(documents(chunks_of(20)), "c", concurrency=2), mode)
    assert model.requests == asked + 20 - 5


@pytest.mark.slow
def test_twenty_documents_at_a_time_take_what_their_answers_take(
    model: FakeModel, environment: pytest.MonkeyPatch, request_of: Any
) -> None:
    """Shorter answers wait for the processor that reads them instead: ``python -m tests.benchmarks model-calls``."""
    seconds, count = 0.5, 200
    with subprocess.Popen(
        [sys.executable, quickmodel.__file__, str(seconds)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout
        environment.setenv("KNOWLEDGE_LLM_BASE_URL", server.stdout.readline().strip() + "/v1")
        flows.run_batch(request_of(documents(text_of(1))), "legacy")
        texts = [text_of(10 + n) for n in range(count)]
        request = request_of(documents(*texts), concurrency=20, enableEntityResolution=False)
        began = time.monotonic()
        assert flows.run_batch(request, "legacy").success_count == count
        assert time.monotonic() - began <= 1.2 * count / 20 * seconds
    assert model.requests == 0
