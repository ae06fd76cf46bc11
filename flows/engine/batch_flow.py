"""The engine: one Prefect flow a batch, three policies, task retries as the only retries."""

from asyncio import CancelledError
from collections.abc import Callable
from contextlib import nullcontext, suppress
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any

from prefect import flow, tags
from prefect.client.schemas.objects import State
from prefect.context import TagsContext
from prefect.events.worker import EventsWorker
from prefect.futures import PrefectFuture
from prefect.settings import (
    PREFECT_API_REQUEST_TIMEOUT,
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
)
from prefect.task_runners import ThreadPoolTaskRunner

from compat.contracts import Extractor
from compat.errors import BatchInfrastructureError, PrefectUnavailableError
from compat.private import end_at_exit, instances_of, leave, unsent
from compat.recording.recorder import Recorder
from compat.store import Claim, Store
from flows.context import BatchContext
from flows.engine import embedded, publishing
from flows.engine.changed_settings import changed_settings
from flows.engine.stops import STOPS
from flows.host import find_host
from flows.host.flow_run import final_state
from tasks.extract import LaneWork, extraction_task
from tasks.lanes import DocumentsFailedError, Lane, Lanes, Places, Rounds
from tasks.resolve import resolve_entities

# How often a flow checks whether it was suspended while its lanes work, in seconds.
LOOK_SECONDS = 1.0
# How long Prefect may take to hear of the end of a run, in seconds; then its caller goes on.
END_SECONDS = 4.0
# How long a process's exit waits for Prefect to take what it hasn't been told yet, in seconds; so often while it answers.
EXIT_SECONDS, EXIT_ROUNDS = 5.0, 12
# What `except Exception` doesn't catch. Without Prefect's Pause, which ends a suspended flow run.
CRASHES = (SystemExit, GeneratorExit, CancelledError)


@dataclass(frozen=True)
class FlowInput:
    """What a flow run gets: its caller's context and claim, and whether it is a shadow run."""

    context: BatchContext
    claim: Claim
    is_shadow: bool
    end: "End"


class End:
    """The end of a flow run's body, which is the end of the batch's work: Prefect still has to hear of it."""

    def __init__(self) -> None:
        self.reached = Event()
        self.error: BaseException | None = None

    def __enter__(self) -> "End":
        return self

    def __exit__(self, _class: object, error: BaseException | None, _traceback: object) -> None:
        self.error = error
        self.reached.set()


@dataclass(frozen=True)
class Raised:
    """What the call of a flow raised, unlike the error that a run ended with."""

    error: BaseException


# Not flow parameters: Prefect would store them and show them on its page. The flow runs in its caller's process.
_INPUT: ContextVar[FlowInput] = ContextVar("flow input")


def in_process(api_seconds: float) -> dict[Any, Any]:
    """Return Prefect's settings for a flow that runs in its caller's process."""
    return {
        # Costs a second at the end of every flow; our lease sees a dead process.
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
        PREFECT_API_REQUEST_TIMEOUT: api_seconds,
        # A busy server says 503 for a moment, so one more try; the default of five keeps a batch waiting for a minute.
        PREFECT_CLIENT_MAX_RETRIES: 1,
    }


class EngineError(Exception):
    """The engine's machinery failed: a task run crashed, or ended without an outcome for its documents."""


def run(context: BatchContext, claim: Claim, *, is_shadow: bool = False, at_the_end: Callable[[], None] = lambda: None) -> None:
    """Work through what is missing of a batch in Prefect, in this process, and end it.

    ``at_the_end`` is called where the flow's body has ended, in whatever way, while Prefect is told so. Raises if Prefect or the
    flow itself fails. The batch hasn't ended then, and its rows say how far it is.
    """
    # Any: the runner's futures are a subtype of those that Flow asks for, and its type is invariant.
    threads: Any = ThreadPoolTaskRunner(claim.config.concurrency)
    name = f"{claim.batch_id} ({'shadow' if is_shadow else 'engine'})"
    engine = extract_batch.with_options(flow_run_name=name, task_runner=threads)
    failure: object
    api_seconds = context.settings.prefect_timeout_seconds
    # A caller's own flow has a server already, and its run is known there alone.
    server = {} if context.host.flow_run_id else embedded.settings()
    end = End()
    token = _INPUT.set(FlowInput(context, claim, is_shadow, end))
    # By the tag automations and `reconcile` know a run as ours, whoever called.
    with changed_settings({**in_process(api_seconds), **server}), tags("knowledge-batch"), STOPS.taken():
        try:
            check_api(api_seconds)
            failure = _until_the_end(lambda: engine(claim.batch_id, return_state=True), end, at_the_end)
        except Exception as error:
            # Prefect itself failed, perhaps after the batch had ended as it should.
            failure = error
            if not _answers():
                drop_unsent()
        finally:
            _INPUT.reset(token)
            end_at_exit(_end_prefects_services)
    if isinstance(failure, BatchInfrastructureError):
        # The store failed. Asking it whether the batch has ended would fail too, and hide the first error.
        raise failure
    # The row is the truth: Prefect's state doesn't prove whether the batch has ended.
    ended = context.store.has_ended(claim.batch_id)
    if not ended:
        raise failure if isinstance(failure, Exception) else EngineError("the flow run ended and the batch did not")


def _until_the_end(engine: Callable[[], State[Any]], end: End, at_the_end: Callable[[], None]) -> object:
    """Run the flow and return its result or error. A Prefect that is silent by its end is left alone after END_SECONDS."""
    results: SimpleQueue[object] = SimpleQueue()
    left_behind = Event()

    def call() -> None:
        try:
            state = engine()
            # Here and without a context: where a loop runs, or an asynchronous flow is around, Prefect returns a coroutine.
            results.put(Context().run(lambda: state.result(raise_on_failure=False)))
        except BaseException as error:
            results.put(Raised(error))
        # Also of a run that never came to its body.
        end.reached.set()
        if left_behind.is_set():
            # Of its last log lines.
            drop_unsent()

    # A thread of its own, which may be left behind: Prefect's calls can't be cut short.
    Thread(target=copy_context().run, args=(call,), name="flow run", daemon=True).start()
    end.reached.wait()
    at_the_end()
    try:
        result = results.get(timeout=END_SECONDS)
    except Empty:
        left_behind.set()
        drop_unsent()
        return end.error or EngineError(f"Prefect didn't take the end of the flow run within {END_SECONDS:g} s")
    if isinstance(result, Raised):
        raise result.error
    return result


def drop_unsent() -> None:
    """Drop Prefect's queued events and logs, since its API no longer answers."""
    leave(instances_of(EventsWorker))


def _end_prefects_services() -> None:
    left = instances_of(EventsWorker)
    for _ in range(EXIT_ROUNDS):
        left = unsent(left, EXIT_SECONDS)
        # A server that is busy gets more time. An embedded one ends with this process, whatever it has been told.
        if not left or not publishing.outlives_process() or not _answers():
            break
    leave(left)


def _answers() -> bool:
    try:
        check_api(seconds=1.0)
    except Exception:
        # Whatever is wrong with it: it is only asked whether waiting longer makes sense.
        return False
    return True


def publish_rollback(store: Store, batch_id: str) -> None:
    """Emit ``knowledge.batch.rolled_back``, unless Prefect is away: an event queued then would delay the process's exit."""
    # Legacy goes on, whatever is wrong with Prefect now.
    with suppress(Exception):
        if not publishing.outlives_process():
            return
        check_api(seconds=1.0)
        publishing.emit_about(store, batch_id, "rolled_back")


def check_api(seconds: float) -> None:
    """Raise PrefectUnavailableError if Prefect's API refuses or is silent for so long, before a flow run waits for it."""
    with publishing.impatient_client(seconds) as client:
        refusal = client.api_healthcheck()
    if refusal is not None:
        raise PrefectUnavailableError(str(client.api_url), f"{type(refusal).__name__}: {refusal}")


@flow(name="extract-batch", retries=0, persist_result=False)
def extract_batch(batch_id: str) -> State[Any]:
    """Extract the documents of a batch that have no outcome yet, resolve entities, and end the batch.

    Args:
        batch_id: The batch, which the process that runs this holds.
    """
    given = _INPUT.get()
    context, claim = given.context, given.claim
    store, host = context.store, find_host()
    store.note_flow_run(claim, str(host.flow_run_id))
    with (
        # Of a shadow run its comparison is published.
        nullcontext() if given.is_shadow else publishing.publish_progress(store, batch_id),
        Recorder(store, claim, context.settings.retry_base_seconds, host.is_cancelled, context.stop) as recorder,
        # Innermost: nobody waits for what Prefect is still told.
        given.end,
    ):
        recorder.begin()
        # The run's tags are for those who look for runs. At a task run Prefect would ask for a place for each of them first.
        with TagsContext(current_tags=set()):
            extract_pending(recorder, context.extractor)
            if claim.config.enable_entity_resolution and not recorder.stopping:
                resolve_entities(recorder)
        recorder.finish()
        return final_state(store, batch_id)


def extract_pending(recorder: Recorder, extractor: Extractor) -> None:
    """Send the pending documents through lanes: at most `concurrency` task runs at a time, one under abort-all."""
    policy, pending = recorder.policy, recorder.pending()
    if policy.sequential and recorder.any_failed():
        return
    lanes = Places(pending, ends_at_failure=policy.sequential) if policy.owner == "activity" else Rounds(pending)
    run_lanes(lanes, 1 if policy.sequential else min(recorder.claim.config.concurrency, len(pending)), recorder, extractor)
    if recorder.stopping or (policy.sequential and recorder.any_failed()):
        return
    if recorder.pending():
        raise EngineError("task runs ended and left documents without an outcome")


def run_lanes(lanes: Lanes, places: int, recorder: Recorder, extractor: Extractor) -> None:
    """Submit a task run for each place, and another whenever one ends while documents are left."""
    task = extraction_task(recorder.policy)
    ended: SimpleQueue[Lane] = SimpleQueue()
    at_work: dict[Lane, PrefectFuture[None]] = {}

    def submit(place: int) -> None:
        lane = Lane(lanes, place, places)
        at_work[lane] = task.submit(LaneWork(lane, recorder, extractor))

        def note_end(_: PrefectFuture[None]) -> None:
            # Also if its body died: the other lanes must not wait for it.
            lanes.leave(lane)
            ended.put(lane)

        at_work[lane].add_done_callback(note_end)

    try:
        for place in range(1, places + 1):
            submit(place)
        while at_work:
            try:
                lane = ended.get(timeout=LOOK_SECONDS)
            except Empty:
                # Raises where the flow run was suspended.
                next(iter(at_work.values())).wait(timeout=0.001)
                continue
            check(at_work.pop(lane))
            if lanes.wants_lane and not recorder.stopping:
                submit(lane.place)
    finally:
        # However the flow ended, no lane may go on behind it.
        lanes.close()


def check(future: PrefectFuture[None]) -> None:
    """Raise what ended a task run, unless it was a failed document, which is an outcome."""
    try:
        future.wait()
    except CRASHES as crash:
        # Raised in a task run's thread, it ends that task run, not this process.
        raise EngineError(f"a task run crashed: {type(crash).__name__}: {crash}") from crash
    error = future.state.result(raise_on_failure=False)
    if isinstance(error, DocumentsFailedError):
        return
    if isinstance(error, Exception):
        raise error
    if isinstance(error, BaseException):
        raise EngineError(f"a task run crashed: {type(error).__name__}: {error}")
