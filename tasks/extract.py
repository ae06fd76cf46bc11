"""The Prefect task around a lane of documents: the only place with retries."""

from functools import partial
from typing import Any

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.runtime import task_run

from compat.contracts import Extractor
from compat.policy import RetryPolicy
from compat.private import rename_task_run
from compat.recording.recorder import Place, Recorder
from tasks.lanes import DocumentsUnfinishedError, Lane


class LaneWork:
    """The task's one parameter: a lane, the recorder and the extractor.

    A plain class: Prefect looks inside parameters that are collections, dataclasses or models, and would read an extractor
    while other lanes change it.
    """

    def __init__(self, lane: Lane, recorder: Recorder, extractor: Extractor) -> None:
        self.lane = lane
        self.recorder = recorder
        self.extractor = extractor


def work_lane(work: LaneWork) -> None:
    """Try one document after another. Raise DocumentsUnfinishedError to be called again, DocumentsFailedError at the end."""
    lane, lanes, recorder = work.lane, work.lane.lanes, work.recorder
    place = Place(recorder.start, lanes.in_order, partial(lanes.take, lane), partial(lanes.put_back, lane))
    for document_id, started in place:
        lanes.settle(lane, document_id, recorder.work(started, work.extractor, place))
    lanes.rest(lane)


def another_attempt_is_due(_task: Task[Any, Any], _task_run: TaskRun, state: State[Any]) -> bool:
    """Prefect's retry condition: only while documents have no outcome."""
    # A plain function, since Prefect takes any other callable for "don't retry".
    return isinstance(state.result(raise_on_failure=False), DocumentsUnfinishedError)


def _run_name() -> str:
    work: LaneWork = task_run.get_parameters()["work"]
    return work.lane.name


@task(
    name="extract-documents",
    task_run_name=_run_name,
    # `extraction_task` puts in the policy's number and waits. Explicit zeros: Prefect's default may be set to more.
    retries=0,
    retry_delay_seconds=0,
    retry_condition_fn=another_attempt_is_due,
    # Results are in the store, which also skips what is done.
    cache_policy=NO_CACHE,
    persist_result=False,
)
def extract_documents(work: LaneWork) -> None:
    """Work on a lane's documents; Prefect's retries are the next attempts of those that failed."""
    try:
        work_lane(work)
    finally:
        rename_task_run(TaskRunContext.get(), work.lane.name)


def extraction_task(policy: RetryPolicy) -> Task[[LaneWork], None]:
    """Return the task with the retries of a policy."""
    # A list of waits for the activity. Rounds don't wait, and may be more than the 50 that Prefect allows in a list.
    waits = list(policy.delays) if policy.owner == "activity" else 0
    return extract_documents.with_options(retries=policy.retries, retry_delay_seconds=waits)
