"""The end of ``run`` and ``resume``: progress while the batch works, then what came of it, and the exit code."""

import shlex
import signal
import time
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from compat.contracts import BatchState, Failed
from compat.errors import BatchNotFoundError, Exit, KnowledgeBatchError
from compat.modes import Mode
from compat.settings import Settings
from compat.store import Store, graphs
from compat.store.overview import can_change
from compat.store.record import BatchRecord
from flows.command import models
from flows.command.files import make_folder, writing
from flows.command.terminal import is_quiet, note, plain, show, write_json


def finish_batch(
    batch_id: str, work: Callable[[], BatchState], format: str, output: Path | None, fail_on_error: bool = False
) -> None:
    """Run to the end with progress shown, print the result, and exit by the batch's status."""
    # Here: `status`, which shows a part of the same, needs neither.
    from flows.command.progress import shown_progress
    from flows.engine.stops import STOPS
    from flows.graph import export as exporting

    if output is not None:
        # Before the batch, which may take hours.
        make_folder("--output", output)
    # The log, and the embedded server's state.
    Settings.load().make_home()
    began = time.monotonic()
    # Also where documents in work outlast their grace, and the process ends by force.
    STOPS.before_exit(lambda: _say_interrupted(batch_id))
    try:
        with shown_progress(batch_id, Console(stderr=True, quiet=is_quiet())):
            state = work()
    except KeyboardInterrupt:
        _say_interrupted(batch_id)
        raise typer.Exit(128 + signal.SIGINT) from None
    except SystemExit:
        # By SIGTERM.
        _say_interrupted(batch_id)
        raise
    seconds = time.monotonic() - began
    store = Store.from_settings()
    if output is not None:
        with writing("--output", output):
            (output / "result.json").write_text(store.result(batch_id).model_dump_json(indent=1), encoding="utf-8")
        exporting.export(store, [batch_id], output / "graph.ttl")
    if format == "json":
        write_json(store.result(batch_id).model_dump_json())
    else:
        _print_result(store, state, seconds)
    code = {"Failed": Exit.FAILED, "Cancelled": Exit.CANCELLED}.get(type(state).__name__, Exit.COMPLETED)
    if fail_on_error and code == Exit.COMPLETED and store.batch(batch_id).failed_documents:
        code = Exit.FAILED
    raise typer.Exit(code)


def _say_interrupted(batch_id: str) -> None:
    try:
        Store.from_settings().batch(batch_id)
    except BatchNotFoundError:
        note("interrupted before the batch was stored; run it again")
    except KnowledgeBatchError as error:
        note(f"interrupted; once the database is there, go on with: knowledge-batch resume {shlex.quote(batch_id)} ({error})")
    else:
        note(f"interrupted; go on with: knowledge-batch resume {shlex.quote(batch_id)}")


def rerun_command(batch_id: str) -> str:
    """Return the command that runs a batch's failed documents as a new batch."""
    return f"knowledge-batch run --failed-of {shlex.quote(batch_id)}"


def add_failures(table: Table, store: Store, batch: BatchRecord, most: int = 10) -> None:
    """Add a row for each of the first failed documents, with its reason."""
    for document_id, failure in store.failures(batch.batch_id, most).items():
        table.add_row("failed", *plain(f"{document_id}: {failure.cause}"))
    if batch.failed_documents > most:
        table.add_row("", f"… and {batch.failed_documents - most} more; --format json has them all")


def _print_result(store: Store, state: BatchState, seconds: float) -> None:
    batch_id = state.batch_id
    batch = store.batch(batch_id)
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", style="bold")
    table.add_column(overflow="fold")
    table.add_row("batch", *plain(batch_id))
    table.add_row("status", type(state).__name__.lower())
    done = f"{batch.finished_documents} ({batch.completed_documents} extracted, {batch.failed_documents} failed)"
    table.add_row("documents", done)
    add_failures(table, store, batch)
    merged = graphs.count(store.database, batch_id).get(batch_id)
    table.add_row("entities", graphs.counted(batch.entity_count, merged))
    if batch.resolution_error is not None:
        table.add_row("not merged", *plain(batch.resolution_error))
    table.add_row("relations", str(batch.relation_count))
    for name, value in models.call_rows(store, batch_id, Settings.load()):
        table.add_row(name, *plain(value))
    table.add_row("time", f"{seconds:.1f} s")
    quoted = shlex.quote(batch_id)
    following = [f"knowledge-batch view {quoted}", f"knowledge-batch export {quoted} --to graph.ttl"]
    if isinstance(state, Failed):
        following = ["mend the input and run it as a new batch: these errors stay the same when the batch is resumed"]
        if can_change(store, batch):
            following = [f"knowledge-batch resume {quoted}"]
    elif batch.failed_documents:
        following.insert(0, rerun_command(batch_id))
    if batch.mode == Mode.SHADOW and not isinstance(state, Failed):
        # The engine repeats the batch after this. If it doesn't, this command says why.
        following.append(f"knowledge-batch parity show {quoted}")
    for title, each in zip_longest(("next",), following, fillvalue=""):
        table.add_row(title, *plain(each))
    show(table)
