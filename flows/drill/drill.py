"""The drill of a cutover: the whole way there and back on a local stack, with batches at work throughout."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median
from threading import Thread
from typing import Any

from sqlalchemy import select, update

import flows
from compat.cutover import record
from compat.modes import Mode
from compat.modes.ramp import is_taken
from compat.parity import archive, gate
from compat.parity.versions import versions
from compat.status import TERMINAL
from compat.store import Store
from compat.store.schema import BatchExecution, BatchRun, DocumentOutcome, WorkflowExecution
from flows.drill import callers
from flows.drill.ground import Callers, DrillError, OldReader, wait_until
from flows.shadow import submission

# Shadows that open the drill's gate, and documents of each that are tried twice; the gate wants 20 retries.
SHADOWS = 2
RETRIED = 10
FIRST_SHARE = 5.0
# How long a shadow run that Prefect didn't take waits to be asked for again, in seconds.
RESUBMIT_SECONDS = 10.0
# Batches that each phase waits for, so that callers were served in it.
SEEN = 3


@dataclass(frozen=True)
class Drill:
    """The result of one drill.

    Attributes:
        name: The drill; the ids of its batches begin with it.
        batches: Batches that were started.
        documents: Documents in them.
        modes: How many batches each mode served in the end.
        lost: Batches without an end, or whose caller was not given their result.
        twice: Batches with two rows, and documents that were extracted twice or never.
        wrong: What the old reader took for wrong, and batches that the ramp sent elsewhere than it says.
        looks: How often the old reader looked at a batch.
        handed_over: Batches that legacy took from the engine.
        trigger: What demoted the engine.
        seconds_to_demotion: From the divergence's write to the demotion's.
        seconds_to_legacy: From the divergence's write until the engine had no batch in work any more.
        phases: Seconds of each phase.
    """

    name: str
    batches: int
    documents: int
    modes: dict[str, int]
    lost: tuple[str, ...]
    twice: tuple[str, ...]
    wrong: tuple[str, ...]
    looks: int
    handed_over: tuple[str, ...]
    trigger: str
    seconds_to_demotion: float
    seconds_to_legacy: float
    phases: dict[str, float]

    @property
    def is_good(self) -> bool:
        """Whether no batch was lost, none was served twice, and old readers were right throughout."""
        return not (self.lost or self.twice or self.wrong)

    def to_dict(self) -> dict[str, Any]:
        """Return the drill as JSON's types."""
        return {**asdict(self), "is_good": self.is_good, "versions": versions().to_dict()}


def distribution(drills: list[Drill]) -> dict[str, float]:
    """Return the least, the median and the greatest time to legacy."""
    times = sorted(drill.seconds_to_legacy for drill in drills)
    return {"least": times[0], "median": median(times), "greatest": times[-1]}


def hold(name: str, folder: Path, say: Callable[[str], None]) -> Drill:
    """Hold one drill on the stack of this process's environment. Raises DrillError where it can't be held to its end."""
    store, shadows = Store.from_settings(), Store.of_shadows()
    database = store.database
    phases: dict[str, float] = {}
    began = time.monotonic()

    def phase(title: str, what: str) -> None:
        nonlocal began
        now = time.monotonic()
        phases[title], began = now - began, now
        say(f"{name}: {title}, {what} ({phases[title]:.1f} s)")

    with Callers(name) as at_work, OldReader(store, at_work) as reader:
        for batch_id in (f"{name}-shadow{number}" for number in range(SHADOWS)):
            names = [f"{batch_id}-{each}" for each in range(RETRIED + 2)]
            documents = [callers.document(each, fail=int(each in names[:RETRIED])) for each in names]
            _run(at_work, batch_id, documents, "shadow")
        checked = _go(store, shadows, folder)
        phase("shadow", "the gate says go")

        record.set_mode(database, Mode.ENGINE, FIRST_SHARE, None, "promote", "a drill", False, checked)
        wrong = [_run_on_ramp(store, at_work, name, taken) for taken in (True, False)]
        _wait_for_callers(at_work, folder, "batches under the ramp")
        phase("ramp", f"{FIRST_SHARE:g} % to the engine")

        record.set_mode(database, Mode.ENGINE, None, None, "promote", "a drill", False, checked)
        _wait_for_callers(at_work, folder, "batches in the engine")
        phase("engine", "all to the engine")

        injected, demoted, ended = _diverge(store, at_work, name, folder, lambda text: say(f"{name}: {text}"))
        phase("demotion", f"demoted after {demoted - injected:.2f} s, all in legacy after {ended - injected:.2f} s")
        _wait_for_callers(at_work, folder, "batches in legacy")
        phase("legacy", "callers go on in legacy")
    wait_until(lambda: _ended(store, at_work), "the end of every batch", folder)
    [demotion] = record.changes(database, 1, "demote")
    found = _counted(store, at_work, Path(folder) / "door")
    drill = Drill(
        name=name,
        batches=len(at_work.started),
        wrong=(*(text for text in wrong if text), *reader.wrong),
        looks=reader.looks,
        trigger=demotion.trigger or "",
        seconds_to_demotion=demoted - injected,
        seconds_to_legacy=ended - injected,
        phases=phases,
        **found,
    )
    record.restore(database, "the end of a drill", is_override=True)
    record.set_mode(database, None)
    return drill


def _go(store: Store, shadows: Store, folder: Path) -> dict[str, Any]:
    """Wait for the gate's go and return its answer."""

    def asked() -> gate.CutoverCheck:
        since = record.evidence_since(store.database)
        return archive.judged(store.database, shadows.database, SHADOWS, timedelta(days=1), since)

    again = time.monotonic() + RESUBMIT_SECONDS

    def is_go() -> bool:
        nonlocal again
        if time.monotonic() > again:
            # Prefect was too busy to take a shadow run, and the upkeep is minutes away.
            submission.submit_waiting(store)
            again = time.monotonic() + RESUBMIT_SECONDS
        return asked().verdict == "go"

    try:
        wait_until(is_go, "a go of the gate", folder, pause=0.2)
    except DrillError as error:
        last = asked()
        reasons = [f"{row.risk} {row.verdict}: {row.reason}" for row in last.rows]
        raise DrillError("; ".join([error.what, *reasons, *last.missing]), folder) from error
    return asked().to_dict()


def _run(at_work: Callers, batch_id: str, documents: list[dict[str, str]], mode: str | None = None) -> None:
    at_work.note(batch_id)
    result = flows.run_batch(callers.request(batch_id, documents), mode)
    at_work.note(batch_id, {"good": result.success_count == len(documents)})


def _run_on_ramp(store: Store, at_work: Callers, name: str, taken: bool) -> str | None:
    """Run a batch that the ramp takes, or one that it doesn't, and return what is wrong with where it went."""
    names = (f"{name}-{'taken' if taken else 'left'}{number}" for number in range(10_000))
    batch_id = next(each for each in names if is_taken(each, FIRST_SHARE) == taken)
    _run(at_work, batch_id, [callers.document(f"{batch_id}-0")])
    due, served = (Mode.ENGINE if taken else Mode.LEGACY), store.batch(batch_id)
    return None if served.mode == due else f"{batch_id} should be served by {due}, and was by {served.mode}: {served.mode_reason}"


def _wait_for_callers(at_work: Callers, folder: Path, what: str) -> None:
    now = time.monotonic()
    wait_until(lambda: len([each for each in at_work.since(now) if "-caller" in each]) >= SEEN, what, folder)


def _diverge(store: Store, at_work: Callers, name: str, folder: Path, say: Callable[[str], None]) -> tuple[float, float, float]:
    """Let a batch of the engine go wrong, and wait for legacy. Return the moments of the divergence, the demotion and its end.

    What is changed is the count of attempts at a document, which no old reader reads: as if a second owner had tried it.
    """
    victim, long = f"{name}-diverges", f"{name}-long"
    go = f"{name}.go"
    _start(at_work, long, [callers.document(f"{long}-{each}", seconds=0.5) for each in range(24)])
    _start(at_work, victim, [callers.document(f"{victim}-0"), callers.document(f"{victim}-1", wait=go)])
    first = (DocumentOutcome.batch_id == victim) & (DocumentOutcome.document_id == f"{victim}-0")
    query = select(DocumentOutcome.outcome).where(first)

    def is_extracted() -> bool:
        with store.database.read() as connection:
            return connection.execute(query).scalar() is not None and bool(store.batch(long).finished_documents)

    wait_until(is_extracted, "the first documents of the batch that diverges", folder)
    say("a divergence is injected; the demotion that follows is the drill's own")
    injected = time.monotonic()
    with store.database.write() as connection:
        connection.execute(update(DocumentOutcome).where(first).values(attempts=DocumentOutcome.attempts + 1))
    (folder / "door" / go).touch()
    demoted = wait_until(lambda: record.DEMOTION in store.switches(), "a demotion", folder)
    ended = wait_until(lambda: not _in_engine(store), "the end of the engine's batches", folder)
    return injected, demoted, ended


def _start(at_work: Callers, batch_id: str, documents: list[dict[str, str]]) -> None:
    """Run a batch in a thread, as a caller who names no mode."""

    def work() -> None:
        try:
            result = flows.run_batch(callers.request(batch_id, documents))
            at_work.note(batch_id, {"good": result.success_count == len(documents)})
        except Exception as error:
            at_work.note(batch_id, {"good": False, "error": str(error)})

    at_work.note(batch_id)
    Thread(target=work, name=batch_id).start()


def _in_engine(store: Store) -> list[str]:
    return [batch.batch_id for batch in store.unfinished() if batch.mode == Mode.ENGINE]


def _ended(store: Store, at_work: Callers) -> bool:
    return at_work.started.keys() <= at_work.ended.keys() and not store.unfinished()


def _counted(store: Store, at_work: Callers, door: Path) -> dict[str, Any]:
    """Return what became of every batch, by the rows and by the extractor's own count of its calls."""
    calls = callers.calls(door)
    lost = [
        f"{name}: {at_work.ended[name].get('error', 'not all extracted')}"
        for name in at_work.ended
        if not at_work.ended[name]["good"]
    ]
    twice: list[str] = []
    modes: dict[str, int] = {}
    handed_over: list[str] = []
    documents = 0
    for batch_id in at_work.started:
        rows, status, run, outcomes = _rows(store, batch_id)
        if status not in TERMINAL:
            lost.append(f"{batch_id}: its row says {status}")
            continue
        if rows != 1:
            twice.append(f"{batch_id} has {rows} rows")
        modes[run.mode] = modes.get(run.mode, 0) + 1
        if run.rolled_back_from is not None:
            handed_over.append(batch_id)
        documents += len(outcomes)
        for document_id, outcome, attempts in outcomes:
            # Of the batch that was made to diverge one count was changed.
            due = attempts - (document_id.endswith("-diverges-0"))
            if outcome != "succeeded" or calls.get(document_id) != due:
                twice.append(f"{document_id}: {outcome}, {calls.get(document_id, 0)} calls in {due} attempts")
    return {
        "lost": tuple(lost),
        "twice": tuple(twice),
        "modes": modes,
        "handed_over": tuple(handed_over),
        "documents": documents,
    }


def _rows(store: Store, batch_id: str) -> tuple[int, str | None, Any, list[Any]]:
    own = select(WorkflowExecution.id).where(
        WorkflowExecution.workflow_type == "batch_extraction", WorkflowExecution.input["batchId"].as_string() == batch_id
    )
    tried = select(DocumentOutcome.document_id, DocumentOutcome.outcome, DocumentOutcome.attempts)
    with store.database.read() as connection:
        rows = len(connection.execute(own).all())
        status = connection.execute(select(BatchExecution.status).where(BatchExecution.id == batch_id)).scalar()
        run = connection.execute(select(BatchRun.mode, BatchRun.rolled_back_from).where(BatchRun.batch_id == batch_id)).first()
        outcomes = connection.execute(tried.where(DocumentOutcome.batch_id == batch_id)).all()
    return rows, status, run, list(outcomes)
