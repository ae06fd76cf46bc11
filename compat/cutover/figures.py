"""Figures of the evidence, read from rows, reports and code: how much was seen of each risk, and what speaks against it."""

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import func, select

from compat.ids import document_execution_id
from compat.policy import ALL_FAILED
from compat.status import RowStatus
from compat.store import Store
from compat.store.models import ModelStore
from compat.store.schema import BatchCheck, BatchExecution, BatchRun, DocumentOutcome, ModelCall, WorkflowActivity
from compat.store.sql import IDS, blocks
from compat.stored_errors import StoredError

Verdict = Literal["shown", "contradicted", "not enough"]
# Errors that are restored, and batches whose times are drawn: what a page can show.
MOST_ERRORS = 1_000
MOST_BATCHES = 500
MOST_DOCUMENTS = 20_000
# Where runtimes are, and what they must not know.
RUNTIMES = ("legacy", "flows.engine", "flows.shadow")
EXTRACTORS = ("tasks.extraction.rules", "tasks.extraction.linear", "tasks.extraction.llm")


@dataclass(frozen=True)
class Figure:
    """One figure: what it counts, its value, when the newest of it was written, and where it was read."""

    name: str
    value: str
    at: datetime | None
    source: str


@dataclass(frozen=True)
class Finding:
    """What rows or code say of a risk that no comparison sees."""

    verdict: Verdict
    reason: str
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Runtime:
    """What one runtime's work took.

    Attributes:
        name: ``legacy``, ``engine``, or ``engine (shadow)``.
        batches: Batches that it served to their end.
        documents: Documents in them.
        attempts: Finished attempts at them, by how many a document took.
        seconds: What batches took from start to end, by batch id.
        extractor_ms: What their attempts took together.
        calls: Calls to models, answers from the store left out.
        tokens: Tokens of those calls.
    """

    name: str
    batches: int
    documents: int
    attempts: dict[int, int]
    seconds: dict[str, float]
    extractor_ms: int
    calls: int
    tokens: int


def repeated_work(store: Store) -> Finding:
    """R5: whether a document that was extracted was extracted again, or a model paid twice for one chunk of an attempt."""
    done = select(WorkflowActivity.execution_id).where(WorkflowActivity.status == RowStatus.COMPLETED)
    again = done.group_by(WorkflowActivity.execution_id).having(func.count() > 1).subquery()
    with store.database.read() as connection:
        extracted, at = connection.execute(
            select(func.count(), func.max(WorkflowActivity.completed_at)).where(WorkflowActivity.status == RowStatus.COMPLETED)
        ).one()
        twice = connection.execute(select(func.count()).select_from(again)).scalar_one()
        resumed = connection.execute(select(func.count()).select_from(BatchRun).where(BatchRun.generation > 0)).scalar_one()
    paid = len(ModelStore(store.database).repeated())
    figures = (
        Figure("documents extracted", str(extracted), at, "knowledge_workflow_activity"),
        Figure("extracted more than once", str(twice), at, "knowledge_workflow_activity"),
        Figure("chunks paid twice in one attempt", str(paid), None, "knowledge_model_call"),
        Figure("batches that were resumed", str(resumed), None, "knowledge_batch_run"),
    )
    if twice or paid:
        return Finding("contradicted", f"{twice} documents were extracted twice, {paid} chunks paid twice", figures)
    if not resumed:
        return Finding("not enough", "no batch was resumed, so nothing could have been done again", figures)
    return Finding(
        "shown",
        f"{resumed} {'batch was' if resumed == 1 else 'batches were'} resumed, and no document was extracted twice",
        figures,
    )


def stored_errors(store: Store) -> Finding:
    """R6: whether the errors of failed documents come back from the store as their class."""
    query = select(DocumentOutcome).where(DocumentOutcome.error_class.is_not(None)).order_by(DocumentOutcome.ended_at.desc())
    with store.database.read() as connection:
        rows = connection.execute(query.limit(MOST_ERRORS)).all()
    errors = [
        StoredError(row.error_class, row.error_message or "", row.error_terminal, tuple(row.error_args or ())) for row in rows
    ]
    restored = [error.restore() for error in errors]
    same = sum(
        type(back).__qualname__ == error.class_path.rpartition(":")[2] for error, back in zip(errors, restored, strict=True)
    )
    lost = sum(error.message not in str(back) for error, back in zip(errors, restored, strict=True))
    at = rows[0].ended_at if rows else None
    figures = (
        Figure("errors of failed documents", str(len(errors)), at, "knowledge_document_outcome"),
        Figure("that come back as their class", str(same), at, "knowledge_document_outcome"),
        Figure("that lost their text", str(lost), at, "knowledge_document_outcome"),
    )
    if lost:
        return Finding("contradicted", f"{lost} of {len(errors)} errors lost their text", figures)
    if not same:
        return Finding("not enough", "no document has failed of a class that this installation has", figures)
    return Finding("shown", f"{same} of {len(errors)} come back as the class that was raised, all with their text", figures)


def resumes(store: Store) -> Finding:
    """R8: whether batches that were broken off went on to their end."""
    query = select(BatchExecution.status, BatchExecution.error, BatchExecution.completed_at, BatchRun.generation)
    with store.database.read() as connection:
        rows = connection.execute(query.join(BatchRun, BatchRun.batch_id == BatchExecution.id)).all()
    resumed = [row for row in rows if row.generation]
    ended = [row for row in resumed if row.status in (RowStatus.COMPLETED, RowStatus.CANCELLED) or row.error == ALL_FAILED]
    waiting = sum(row.status == RowStatus.FAILED and row.error != ALL_FAILED for row in rows)
    at = max((row.completed_at for row in ended if row.completed_at), default=None)
    figures = (
        Figure("batches that were resumed", str(len(resumed)), at, "knowledge_batch_run"),
        Figure("of them that came to their end", str(len(ended)), at, "knowledge_batch_execution"),
        Figure("batches that wait for a resume", str(waiting), None, "knowledge_batch_execution"),
    )
    if not ended:
        return Finding("not enough", "no batch was resumed to its end", figures)
    return Finding("shown", f"{len(ended)} of {len(resumed)} resumed batches came to their end", figures)


def imports_of_extractors() -> Finding:
    """R9: whether a runtime imports an extractor. Read from the code that is installed."""
    files = [path for package in RUNTIMES for path in _files(package)]
    found = sorted({f"{path.name} imports {name}" for path in files for name in _imported(path) if name.startswith(EXTRACTORS)})
    figures = (Figure("files of the runtimes", str(len(files)), None, ", ".join(RUNTIMES)),)
    if found:
        return Finding("contradicted", "; ".join(found), figures)
    return Finding("shown", f"none of {len(files)} files imports an extractor", figures)


def checks(store: Store, trigger: str | None) -> tuple[Figure, ...]:
    """Return what the demotion's checks came to, for the trigger of a risk."""
    with store.database.read() as connection:
        rows = connection.execute(select(BatchCheck.findings, BatchCheck.checked_at).order_by(BatchCheck.checked_at)).all()
    if trigger is None or not rows:
        return ()
    hits = sum(trigger in row.findings for row in rows)
    value = f"{len(rows)} batches, {hits} with a finding"
    return (Figure("checked while the engine served", value, rows[-1].checked_at, "knowledge_batch_check"),)


def runtimes(main: Store, shadows: Store) -> tuple[Runtime, ...]:
    """Return what each runtime's newest batches took: legacy's and the engine's that were served, and the engine's as shadows."""
    served = [
        _runtime(main, name, BatchRun.mode.in_(modes))
        for name, modes in (("legacy", ("legacy", "shadow")), ("engine", ("engine",)))
    ]
    return (*served, _runtime(shadows, "engine (shadow)", BatchRun.mode == "engine"))


def _runtime(store: Store, name: str, chosen: Any) -> Runtime:
    ended = (
        select(BatchExecution.id, BatchExecution.started_at, BatchExecution.completed_at)
        .join(BatchRun, BatchRun.batch_id == BatchExecution.id)
        .where(chosen, BatchExecution.status == RowStatus.COMPLETED, BatchRun.generation == 0)
        .order_by(BatchExecution.created_at.desc())
        .limit(MOST_BATCHES)
    )
    with store.database.read() as connection:
        batches = connection.execute(ended).all()
        ids = [batch.id for batch in batches]
        tried = (
            select(DocumentOutcome.attempts, func.count())
            .where(DocumentOutcome.batch_id.in_(ids))
            .group_by(DocumentOutcome.attempts)
        )
        attempts: dict[int, int] = dict(connection.execute(tried).tuples().all())
        documents = select(DocumentOutcome.batch_id, DocumentOutcome.document_id).where(DocumentOutcome.batch_id.in_(ids))
        took = 0
        for some in blocks(connection.execute(documents.limit(MOST_DOCUMENTS)).tuples().all(), IDS):
            executions = [document_execution_id(batch_id, document_id) for batch_id, document_id in some]
            spent = select(func.sum(WorkflowActivity.duration_ms)).where(WorkflowActivity.execution_id.in_(executions))
            took += connection.execute(spent).scalar() or 0
        made = select(func.count(), func.sum(ModelCall.tokens_in + ModelCall.tokens_out))
        calls, tokens = connection.execute(made.where(ModelCall.batch_id.in_(ids), ModelCall.outcome != "stored")).one()
    seconds = {batch.id: (batch.completed_at - batch.started_at).total_seconds() for batch in batches if batch.started_at}
    return Runtime(name, len(ids), sum(attempts.values()), attempts, seconds, took, calls, int(tokens or 0))


def _files(package: str) -> Sequence[Path]:
    spec = find_spec(package)
    folders = (spec.submodule_search_locations or ()) if spec else ()
    return [path for folder in folders for path in sorted(Path(folder).rglob("*.py"))]


def _imported(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names
