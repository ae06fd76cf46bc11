"""The Prefect task around the extraction of a shard of documents: the only place with retries."""

from collections.abc import Sequence
from typing import Any

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.runtime import task_run

from compat.contracts import Extractor
from compat.policy import RetryPolicy
from compat.recording.recorder import Recorder


class DocumentsUnfinishedError(Exception):
    """Documents of a shard have no outcome yet; another attempt is due."""


class DocumentsFailedError(Exception):
    """Documents of a shard failed for good. Every document of it has its outcome."""


def attempt_documents(recorder: Recorder, document_ids: Sequence[str], extractor: Extractor) -> None:
    """One attempt at every document of a shard that has no outcome yet.

    Raises DocumentsUnfinishedError while attempts are left, then DocumentsFailedError where any failed.
    """
    outcomes = {document_id: recorder.attempt(document_id, extractor) for document_id in document_ids}
    unfinished = [document_id for document_id, outcome in outcomes.items() if outcome == "unfinished"]
    failed = [document_id for document_id, outcome in outcomes.items() if outcome == "failed"]
    if unfinished:
        raise DocumentsUnfinishedError(f"{len(unfinished)} of {len(document_ids)} documents go on: {_named(unfinished)}")
    if failed:
        raise DocumentsFailedError(f"{len(failed)} of {len(document_ids)} documents failed: {_named(failed)}")


def another_attempt_is_due(task: Task[Any, Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Prefect's retry condition: only while a document of the shard has no outcome."""
    # A plain function, since Prefect takes any other callable for "don't retry".
    return isinstance(state.result(raise_on_failure=False), DocumentsUnfinishedError)


def _run_name() -> str:
    return _named(task_run.get_parameters()["document_ids"], most=1)


def _named(document_ids: Sequence[str], most: int = 3) -> str:
    more = len(document_ids) - most
    return ", ".join(document_ids[:most]) + (f" and {more} more" if more > 0 else "")


@task(
    name="extract-documents",
    task_run_name=_run_name,
    # The policy's count and waits are put in by `extraction_task`; without them a task tries once,
    # whatever Prefect's default says.
    retries=0,
    retry_delay_seconds=0,
    retry_condition_fn=another_attempt_is_due,
    # The store is the truth for results, and skips what it has.
    cache_policy=NO_CACHE,
    persist_result=False,
)
def extract_documents(document_ids: Sequence[str], recorder: Recorder, extractor: Extractor) -> None:
    """Tries every document of a shard; Prefect's retries are the next attempts of those that failed."""
    attempt_documents(recorder, document_ids, extractor)


def extraction_task(policy: RetryPolicy) -> Task[[Sequence[str], Recorder, Extractor], None]:
    """The task with the retries of a policy."""
    return extract_documents.with_options(retries=policy.retries, retry_delay_seconds=list(policy.delays) or 0)
