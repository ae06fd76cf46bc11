"""Batches of a fan-out handed to Prefect: each as one run of a deployment, and none twice."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compat import fan_outs
from compat.errors import InvalidInputError, PrefectUnavailableError, Problem
from compat.fan_outs import WAITING, FanOut, Part
from compat.status import RowStatus
from compat.store import Store
from compat.store.overview import can_change
from compat.store.sql import blocks
from flows.sources.documents import StreamedParams

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

DEPLOYMENT = "fan-out-batch/fan-out"
# Flow runs that Prefect's API returns at a time.
PAGE = 200


@dataclass(frozen=True)
class Submitted:
    """What became of a fan-out's batches: handed to Prefect now, with Prefect or at work already, done, beyond help."""

    submitted: int
    under_way: int
    done: int
    hopeless: int


def cut(store: Store, asked: FanOut, request: StreamedParams) -> FanOut:
    """Store a source as batches, as far as that isn't done, and return the fan-out.

    Raises InvalidInputError where its id was used with another source or other options.
    """
    fan_out = fan_outs.begin(store.database, asked)
    count = 0
    for count, documents in enumerate(request.documents.cut(fan_out.documents_per_batch), start=1):
        fan_outs.add(store.database, fan_out, count, documents)
    fan_outs.complete(store.database, fan_out, count)
    return fan_outs.find(store.database, fan_out.id) or fan_out


def submit_missing(store: Store, fan_out: FanOut) -> Submitted:
    """Hand what is missing of a fan-out to Prefect: what was never submitted, and what failed or died.

    Of many that do this at a time, each batch gets one flow run: they use the same key for it. Raises InvalidInputError for
    a fan-out that was cancelled or isn't stored to its end, and PrefectUnavailableError.
    """
    if fan_out.is_cancelled:
        raise InvalidInputError([Problem("fan-out", fan_out.id, "was cancelled; fan its source out under another id")])
    if fan_out.batch_count is None:
        advice = "its source was not read to the end; run it again with its source: knowledge-batch fan-out SOURCE --fan-out-id"
        raise InvalidInputError([Problem("fan-out", fan_out.id, advice)])
    parts = fan_outs.standing(store, fan_out).parts
    open_ = [part for part in parts if part.status in (WAITING, RowStatus.FAILED)]
    hopeless = {part.number for part in open_ if part.batch is not None and not can_change(store, part.batch)}
    submitted = 0
    with _prefect() as client:
        runs = _runs(client, [part.flow_run_id for part in open_ if part.flow_run_id is not None])
        missing = [part for part in open_ if part.number not in hopeless and not _is_under_way(part, runs)]
        deployment = client.read_deployment_by_name(DEPLOYMENT).id if missing else None
        for part in missing:
            # Known to be there: `missing` isn't empty.
            assert deployment is not None  # noqa: S101
            run = client.create_flow_run_from_deployment(
                deployment,
                parameters={"batch_id": part.batch_id},
                name=f"{fan_out.id} {part.number} of {fan_out.batch_count}",
                tags=["fan-out", f"fan-out:{fan_out.id}"],
                # Whoever submits this part for this time uses this key, so all get one run.
                idempotency_key=f"fan-out:{part.batch_id}:{part.submissions}",
            )
            fan_outs.note_submission(store.database, part, str(run.id))
            submitted += 1
    done = sum(part.status in (RowStatus.COMPLETED, RowStatus.CANCELLED) for part in parts)
    return Submitted(submitted, len(parts) - submitted - done - len(hopeless), done, len(hopeless))


def check_deployment() -> None:
    """Raise PrefectUnavailableError or InvalidInputError unless batches can be submitted, before a source is stored."""
    with _prefect() as client:
        client.read_deployment_by_name(DEPLOYMENT)


def _is_under_way(part: Part, runs: dict[str, "FlowRun"]) -> bool:
    """Return whether the flow run that a batch was submitted as will still do its work."""
    run = runs.get(part.flow_run_id or "")
    if run is None or run.state is None or run.state.is_final():
        return False
    # A run that has begun the batch and let it fail, or died with it, does nothing more, whatever Prefect says of it.
    return part.batch is None or part.batch.flow_run_id != part.flow_run_id


def _runs(client: "SyncPrefectClient", flow_run_ids: Sequence[str]) -> dict[str, "FlowRun"]:
    from prefect.client.schemas.filters import FlowRunFilter

    found: dict[str, FlowRun] = {}
    for ids in blocks(flow_run_ids, PAGE):
        runs = client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate({"id": {"any_": ids}}), limit=PAGE)
        found |= {str(run.id): run for run in runs}
    return found


@contextmanager
def _prefect() -> Iterator["SyncPrefectClient"]:
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
    from prefect.settings import PREFECT_API_URL

    api = PREFECT_API_URL.value()
    if not api:
        advice = "workers find their batches at a Prefect server; set it, to that of `knowledge-batch up` for example"
        raise InvalidInputError([Problem("PREFECT_API_URL", "", advice)])
    try:
        with get_client(sync_client=True) as client:
            yield client
    except ObjectNotFound:
        advice = f"doesn't have the deployment {DEPLOYMENT}; run: knowledge-batch deploy"
        raise InvalidInputError([Problem("PREFECT_API_URL", api, advice)]) from None
    except (httpx.HTTPError, PrefectHTTPStatusError, RuntimeError) as error:
        # Prefect raises RuntimeError if nobody answers at the API's address.
        raise PrefectUnavailableError(api, f"{type(error).__name__}: {error}") from error
