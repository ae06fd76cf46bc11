"""Every private name of other packages that we use, each with its reason; tests/compat/test_private.py says when one changes.

Whatever they are found at is handed in, so this floor imports none of them.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import suppress
from contextvars import copy_context
from queue import Empty
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")

# Prefect: where a worker names the flow run that it started a process for. `prefect.runtime` says it too, but importing
# Prefect takes a second, which legacy never pays.
STARTED_FOR = "PREFECT__FLOW_RUN_ID"
# Prefect: what makes a server an embedded one, as its own does.
EMBEDDED = {"PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
# Prefect: its context variables of a run, and where their values' types are. By name, for the same reason.
_RUN_VARIABLES = ("flow_run", "task_run")
_CONTEXTS = "prefect.context"


# --- The standard library ---------------------------------------------------------------------------------------------


_waits: list[Callable[[], None]] = []
_ends: list[Callable[[], None]] = []
# What the interpreter keeps of our newest registration.
_registered: object = None


def wait_at_exit(wait: Callable[[], None]) -> None:
    """Make the interpreter call ``wait`` at exit before it shuts down thread pools.

    A batch in the background needs its pool to its end. This is how the pools themselves ask to be waited for; the last to
    ask comes first, so it is asked again only if somebody else has asked since.
    """
    _waits.append(wait)
    _come_first()


def wait_no_more(wait: Callable[[], None]) -> None:
    """Forget what ``wait_at_exit`` was asked: it is over."""
    # At the exit it may have been taken out already.
    with suppress(ValueError):
        _waits.remove(wait)


def end_at_exit(end: Callable[[], None]) -> None:
    """Have this called at the exit, once what is waited for is over, and before what others have registered until now."""
    if end not in _ends:
        _ends.append(end)
    _come_first()


def _come_first() -> None:
    global _registered
    threads: Any = threading
    if threads._threading_atexits[-1:] != [_registered]:
        threads._register_atexit(_wait_for_all)
        _registered = threads._threading_atexits[-1]


def _wait_for_all() -> None:
    """Wait, and let what is imported or started meanwhile register for the exit as well; its turn comes afterwards.

    The interpreter refuses such registrations from here on, and with them the import of Prefect and its services: a program
    that ended sooner than Prefect was imported had no engine.
    """
    threads: Any = threading
    known = len(threads._threading_atexits)
    threads._SHUTTING_DOWN = False
    try:
        while _waits:
            _waits.pop()()
        for end in _ends:
            end()
    finally:
        threads._SHUTTING_DOWN = True
    for late in reversed(threads._threading_atexits[known:]):
        late()


# --- Prefect ----------------------------------------------------------------------------------------------------------


def is_in_run() -> bool:
    """Return whether a flow or task run of Prefect is around the caller, without importing Prefect."""
    return any(
        variable.name in _RUN_VARIABLES and value is not None and type(value).__module__ == _CONTEXTS
        for variable, value in copy_context().items()
    )


def rename_task_run(context: Any, name: str) -> None:
    """Give the task run of a TaskRunContext another name. The server takes it from the run's next state.

    Prefect names a run at its start only, when nobody knows yet which document it will be in trouble with.
    """
    context.task_run.name = name


def instances_of(kept: type[T]) -> list[T]:
    """Return the instances of a class of which Prefect keeps one a key: of EventsWorker, and of what sends logs beside it."""
    return list(kept._instances.values())  # type: ignore[attr-defined]


def unsent(services: list[Any], seconds: float) -> list[Any]:
    """Tell Prefect's services (events, logs) to send what they have and end. Return those that haven't after so long."""
    wait([service._drain(at_exit=True) for service in services], timeout=seconds)
    return [service for service in services if not service._done_event.is_set()]


def leave(services: list[Any]) -> None:
    """Drop what Prefect's services still have to send: at the exit nobody waits for them, as Prefect would for minutes."""
    for service in unsent(services, 0):
        with suppress(Empty):
            while True:
                service._queue.get_nowait()
        # What ends it when its last call has come back.
        service._queue.put_nowait(None)
        # At the exit the loop may be gone.
        with suppress(RuntimeError):
            service._loop.call_soon_threadsafe(service._done_event.set)


def is_prefects(handler: object) -> bool:
    """Return whether a signal's handler is Prefect's, which aborts a flow run where it stands."""
    return getattr(handler, "__module__", "").startswith("prefect.")


# --- rdflib -----------------------------------------------------------------------------------------------------------


def syntax_problem(error: Any) -> tuple[int, str]:
    """Return the line and the reason of a BadSyntax; its text holds both among much else, and counts lines otherwise."""
    return error._str[: error._i].count(b"\n") + 1, error._why


def line_of_parser(traceback: TracebackType | None) -> int | None:
    """Return the line that the Turtle parser stood at, which only its frames know where it raised no BadSyntax."""
    line = None
    for text, position in _frames(traceback):
        if isinstance(text, bytes) and isinstance(position, int):
            line = text[:position].count(b"\n") + 1
        elif isinstance(text, str) and isinstance(position, int):
            line = text[:position].count("\n") + 1
    return line


def _frames(traceback: TracebackType | None) -> Iterator[tuple[object, object]]:
    while traceback is not None:
        found = traceback.tb_frame.f_locals
        yield found.get("argstr"), found.get("i")
        traceback = traceback.tb_next


# --- fsspec -----------------------------------------------------------------------------------------------------------


def parent_of(system: Any, path: str) -> str:
    """Return the folder of a path by the rules of its file system; fsspec has no public word for it."""
    return str(system._parent(path))
