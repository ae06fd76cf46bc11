"""No answer is paid for twice: whatever happens to a batch, what the model has said is asked for no more."""

import json
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from typing import Any, Literal

import processes
import pytest
from fakemodel import FakeModel, Say, Seen, chunks_of, text_of
from models.conftest import documents

import flows
from compat.contracts import Success
from compat.store import Store
from compat.store.models import ModelStore
from flows.shadow import comparison
from tasks.extraction.chunking import split

CHUNKS = 40


def number_of(seen: Seen) -> int:
    """The number of the first ship that is new in a chunk: each begins with the last sentence of the one before."""
    return int(seen.text.split("The captain of the Harrier ")[-1].split()[0])


@pytest.mark.parametrize("mode", ["legacy", "engine"])
@pytest.mark.parametrize("n", [20, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 7, 33, 40))])
def test_a_document_that_fails_at_a_chunk_asks_for_no_earlier_one_again(
    model: FakeModel, prefect_server: None, request_of: Any, mode: str, n: int
) -> None:
    assert len(split(chunks_of(CHUNKS))) == CHUNKS
    model.script = lambda seen, times: Say("no", status=500) if number_of(seen) == n - 1 and times == 1 else None
    result = flows.run_batch(request_of(documents(chunks_of(CHUNKS)), concurrency=3), mode)
    assert result.success_count == 1
    times = model.texts()
    assert max(times.values()) == 2
    # The failed chunk alone was asked for again, and those behind it that had not been begun.
    assert sum(times.values()) == CHUNKS + 1
    first = next(index for index, seen in enumerate(model.seen) if number_of(seen) == n - 1)
    again = [seen for seen in model.seen[first + 1 :] if seen.text == model.seen[first].text]
    assert len(again) == 1
    assert len(model.seen[model.seen.index(again[0]) :]) <= CHUNKS - n + 1


def test_a_resume_pays_for_what_is_missing(model: FakeModel, ledger: Callable[[], ModelStore], request_of: Any) -> None:
    model.script = lambda seen, times: Say({"error": {"message": "bad key"}}, status=401) if number_of(seen) == 5 else None
    assert flows.run_batch(request_of(documents(chunks_of(10)), "b", concurrency=1), "legacy").failure_count == 1
    assert model.requests == 6
    model.script = lambda seen, times: None
    assert flows.resume_batch("b", "legacy").success_count == 1
    assert model.requests == 6 + 5
    assert ledger().totals("b").paid_twice == 0


def test_a_rollback_to_legacy_asks_for_nothing_again(
    model: FakeModel, prefect_server: None, environment: pytest.MonkeyPatch, request_of: Any
) -> None:
    from flows.engine import batch_flow

    answered = batch_flow.resolve_entities

    def broken(recorder: Any) -> None:
        raise RuntimeError("Prefect is broken")

    # The engine dies behind the documents; legacy takes over and does its resolution.
    environment.setattr(batch_flow, "resolve_entities", broken)
    result = flows.run_batch(request_of(documents(text_of(1), text_of(2)), "b"), "engine")
    environment.setattr(batch_flow, "resolve_entities", answered)
    assert (result.success_count, model.requests) == (2, 2)


def test_a_rollback_in_the_middle_of_a_document_asks_for_its_other_chunks(
    model: FakeModel, prefect_server: None, environment: pytest.MonkeyPatch, request_of: Any
) -> None:
    environment.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    result = flows.run_batch(request_of(documents(chunks_of(5)), "b"), "engine")
    assert (result.success_count, model.requests) == (1, 5)
    again = flows.run_batch(request_of(documents(chunks_of(5)), "c"), "legacy")
    assert model.requests == 5
    [one], [other] = result.document_results, again.document_results
    assert isinstance(one.result, Success)
    assert isinstance(other.result, Success)
    assert one.result.extraction.graph == other.result.extraction.graph


@pytest.mark.parametrize("channel", ["tape", "live"])
def test_a_shadow_asks_for_nothing_again(
    model: FakeModel, prefect_server: None, nobody_submits: None, request_of: Any, channel: Literal["tape", "live"]
) -> None:
    flows.run_batch(request_of(documents(text_of(1), text_of(2), chunks_of(11, first=10)), "b"), "shadow")
    asked = model.requests
    report = comparison.run_shadow(Store.from_settings(), Store.of_shadows(), "b", channel)
    assert model.requests == asked == 2 + 11
    assert report is not None
    assert report.verdict == "parity", report.headline


def test_of_many_who_ask_the_same_at_once_one_pays(model: FakeModel, environment: pytest.MonkeyPatch, request_of: Any) -> None:
    model.seconds = 0.3
    same = [text_of(number) for number in range(3)] * 6
    result = flows.run_batch(request_of(documents(*same), concurrency=18), "legacy")
    assert result.success_count == 18
    assert model.texts() == dict.fromkeys(model.texts(), 1)
    assert model.requests == 3


def test_an_asker_that_fails_lets_the_next_one_ask(model: FakeModel, request_of: Any) -> None:
    model.script = lambda seen, times: Say("no", status=500, seconds=0.3) if times == 1 else None
    result = flows.run_batch(request_of(documents(text_of(1), text_of(1)), concurrency=2), "legacy")
    assert (result.success_count, model.requests) == (2, 2)


def test_two_processes_with_the_same_documents_pay_every_answer_once(
    model: FakeModel, ledger: Callable[[], ModelStore], request_of: Any
) -> None:
    pay_once(2, model, ledger, request_of)


@pytest.mark.slow
def test_eight_processes_with_the_same_documents_pay_every_answer_once(
    model: FakeModel, ledger: Callable[[], ModelStore], environment: pytest.MonkeyPatch, request_of: Any
) -> None:
    pay_once(8, model, ledger, request_of)


def pay_once(count: int, model: FakeModel, ledger: Callable[[], ModelStore], request_of: Any) -> None:
    model.seconds = 0.05
    texts = [chunks_of(6, first=10 * number) for number in range(4)]
    children = [
        processes.start(processes.RUN, "legacy", request=json.dumps(request_of(documents(*texts), f"b{number}", concurrency=4)))
        for number in range(count)
    ]
    for child in children:
        assert child.wait(timeout=300) == 0, child.stderr and child.stderr.read()
    assert Counter(model.texts().values()) == {1: 24}
    totals = [ledger().totals(f"b{number}") for number in range(count)]
    assert sum(each.made for each in totals) == 24
    assert sum(each.stored for each in totals) == 24 * (count - 1)
    assert sum(each.paid_twice for each in totals) == 0


@pytest.mark.parametrize("mode", ["legacy", pytest.param("engine", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_a_killed_batch_pays_again_for_the_calls_in_flight_at_most(
    model: FakeModel,
    environment: pytest.MonkeyPatch,
    ledger: Callable[[], ModelStore],
    request_of: Any,
    mode: str,
    kills: int,
) -> None:
    environment.setenv("KNOWLEDGE_LEASE_SECONDS", "2")
    concurrency, count, seconds = 4, 60, 0.1
    model.seconds = seconds
    request = request_of(documents(*(chunks_of(15, first=100 * number) for number in range(4))), "b", concurrency=concurrency)
    resume = "import sys, flows; flows.resume_batch('b', sys.argv[1])"
    moments = random.Random(13)  # noqa: S311
    for kill in range(kills):
        before = model.requests
        program, stdin = (processes.RUN, json.dumps(request)) if kill == 0 else (resume, "")
        child = processes.start(program, mode, request=stdin)
        # Somewhere in the calls that it makes, or behind them where it has none left to make.
        wanted = before + moments.randint(1, max(1, count // kills))
        processes.wait_until(lambda: model.requests >= wanted or child.poll() is not None, 60)  # noqa: B023
        if child.poll() is None:
            os.kill(child.pid, signal.SIGKILL)
        child.wait()
        processes.wait_until(lambda: type(flows.get_status("b")).__name__ in ("Failed", "Completed"), 30)
    done = processes.start(resume, mode)
    _, said = done.communicate(timeout=300)
    state = flows.get_status("b")
    assert type(state).__name__ == "Completed", f"{state}: {said[-2000:]}"
    assert model.requests <= count + concurrency * kills
    assert ledger().totals("b").paid_twice == 0
