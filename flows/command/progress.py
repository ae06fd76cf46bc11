"""The progress of a running batch: a bar on a terminal, an occasional line elsewhere."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from compat.contracts import BatchState, Extracting, Pending, Resolving
from compat.errors import KnowledgeBatchError
from compat.modes import Mode
from compat.store import Store
from flows.sources.places import without_secrets

# Seconds between two checks of the batch.
BAR_SECONDS, LINE_SECONDS = 0.2, 2.0


@contextmanager
def shown_progress(batch_id: str, console: Console) -> Iterator[None]:
    """Show the batch's progress on ``console`` while the block runs."""
    left = Event()
    watcher = Thread(target=_bar if console.is_terminal else _lines, args=(batch_id, console, left), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        left.set()
        watcher.join()


def _look(batch_id: str) -> BatchState | str | None:
    """Return where the batch stands; of one that has not begun, what it waits for."""
    try:
        batch = Store.from_settings().batch(batch_id)
        if isinstance(batch.state, Pending):
            return f"starting: {_awaited(batch.mode)}"
        return batch.state
    except KnowledgeBatchError:
        # Not claimed yet, or refused: the caller that runs the batch reports it.
        return None


def _bar(batch_id: str, console: Console, left: Event) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("documents"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("starting", total=None)
        while not left.wait(BAR_SECONDS):
            match _look(batch_id):
                case str() as waiting:
                    progress.update(bar, description=waiting)
                case Extracting(completed_documents=done, total_documents=total):
                    progress.update(bar, description="extracting", completed=done, total=total)
                case Resolving():
                    progress.update(bar, description="resolving ")


def _lines(batch_id: str, console: Console, left: Event) -> None:
    printed = ""
    while not left.wait(LINE_SECONDS if printed else BAR_SECONDS):
        line = _line(_look(batch_id))
        if line and line != printed:
            console.print(line, markup=False, highlight=False)
            printed = line


def _awaited(mode: str) -> str:
    if mode != Mode.ENGINE:
        return "waiting for the first document"
    address = os.environ.get("PREFECT_API_URL")
    return (
        f"waiting for Prefect at {without_secrets(address)}" if address else "waiting for Prefect's embedded server, some seconds"
    )


def _line(state: BatchState | str | None) -> str:
    match state:
        case str():
            return state
        case Extracting(completed_documents=done, total_documents=total):
            return f"extracting: {done} of {total} documents"
        case Resolving():
            return "resolving entities across documents"
    return ""
