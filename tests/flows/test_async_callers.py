"""Callers in an event loop."""

import asyncio
import gc
import warnings
from typing import Any

import processes
import pytest

import faults
import flows
from compat.errors import InvalidInputError
from compat.recording.recorder import Outcome, Recorder, Started
from compat.store import Store

pytestmark = pytest.mark.usefixtures("prefect_server", "environment")


def test_batches_of_both_modes_run_side_by_side_and_the_loop_goes_on(request_of: Any) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.01)

    async def work() -> list[Any]:
        ticking = asyncio.create_task(tick())
        requests = [request_of([faults.document("a", seconds=0.2), faults.document("b")], f"b{number}") for number in range(8)]
        batches = [flows.arun_batch(request, ("legacy", "engine")[n % 2]) for n, request in enumerate(requests)]
        try:
            return list(await asyncio.gather(*batches))
        finally:
            ticking.cancel()

    results = asyncio.run(work())
    assert {result.success_count for result in results} == {2}
    assert faults.knocks() == {"a": 8, "b": 8}
    assert ticks > 10


@pytest.mark.parametrize("mode", ["legacy", "engine"])
def test_a_cancelled_task_leaves_a_batch_to_resume(mode: str, request_of: Any) -> None:
    request = request_of([faults.document(f"d{number}", held=True) for number in range(9)], "left", concurrency=2)

    async def work() -> None:
        task = asyncio.create_task(flows.arun_batch(request, mode))
        await asyncio.to_thread(processes.wait_until, lambda: bool(faults.knocks()))
        task.cancel()
        # It hears of it before a document ends.
        await asyncio.sleep(0)
        faults.open_door()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())
    state = flows.get_status("left")
    assert "Interrupted: the task that awaited it was cancelled" in str(state.model_dump().get("error"))
    assert 0 < len(faults.knocks()) < 9
    assert flows.resume_batch("left", "legacy").success_count == 9
    assert set(faults.knocks().values()) == {1}


@pytest.mark.parametrize("mode", ["legacy", "engine"])
def test_a_cancelled_task_leaves_another_ones_batch_of_the_same_id_alone(mode: str, request_of: Any) -> None:
    request = request_of([faults.document(f"d{number}", held=True) for number in range(6)], "same", concurrency=2)

    async def work() -> Any:
        first = asyncio.create_task(flows.arun_batch(request, mode))
        await asyncio.to_thread(processes.wait_until, lambda: bool(faults.knocks()))
        second = asyncio.create_task(flows.arun_batch(request, mode))
        # It has begun, and not heard yet that the batch is taken.
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        faults.open_door()
        return await first

    assert asyncio.run(work()).success_count == 6


def test_a_cancelled_task_that_has_claimed_nothing_yet_ends(request_of: Any) -> None:
    request = request_of([faults.document(f"d{number}", seconds=0.05) for number in range(60)], "early")

    async def work() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(flows.arun_batch(request), timeout=0)

    asyncio.run(work())
    assert len(faults.knocks()) < 60


@pytest.mark.parametrize("crashes", [False, True], ids=["well", "crashes"])
def test_a_sync_call_within_a_loop_warns_of_nothing_and_a_rollback_says_why(
    crashes: bool, environment: pytest.MonkeyPatch, request_of: Any
) -> None:
    from prefect.context import TaskRunContext

    work = Recorder.work

    def crash_in_prefect(recorder: Recorder, started: Started | Outcome, *rest: Any) -> Outcome:
        if crashes and TaskRunContext.get() is not None:
            raise SystemExit("the task runner is broken")
        return work(recorder, started, *rest)

    environment.setattr(Recorder, "work", crash_in_prefect)

    async def cell() -> Any:
        # As a notebook's cell: the loop runs, and the call is a plain one.
        return flows.run_batch(request_of([faults.document("a")], "in a cell"), "engine")

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", RuntimeWarning)
        assert asyncio.run(cell()).success_count == 1
        gc.collect()
    assert [str(each.message) for each in warned if each.category is RuntimeWarning] == []
    batch = Store.from_settings().batch("in a cell")
    assert batch.mode == ("legacy" if crashes else "engine")
    if crashes:
        assert "a task run crashed: SystemExit: the task runner is broken" in batch.row_input["rollbackReason"]


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_an_asynchronous_flow_of_the_users_own_may_call_it(request_of: Any) -> None:
    from prefect import flow

    @flow(retries=0)
    async def theirs() -> int:
        return flows.run_batch(request_of([faults.document("a")], "in a flow"), "engine").success_count

    assert asyncio.run(theirs()) == 1  # type: ignore[arg-type]
    assert Store.from_settings().batch("in a flow").mode == "engine"


def test_bad_input_is_refused_as_by_run_batch(request_of: Any) -> None:
    with pytest.raises(InvalidInputError, match="concurrency"):
        asyncio.run(flows.arun_batch(request_of([], concurrency=0)))
