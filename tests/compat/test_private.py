"""What is private to others and used all the same: each test fails when that has changed."""

import inspect
import signal
import subprocess
import sys
import threading
from pathlib import Path
from uuid import UUID

import fsspec
import processes
import pytest
import rdflib
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.context import TaskRunContext
from prefect.runtime import flow_run
from rdflib.plugins.parsers.notation3 import BadSyntax

import brokenprefect
from compat import private

# A thread that has work for its pool when the main thread has ended.
LATE_WORK = """
import sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from compat.private import wait_at_exit

pool = ThreadPoolExecutor(1)

def work():
    time.sleep(0.5)
    print(pool.submit(int, "7").result())

thread = threading.Thread(target=work)
if sys.argv[1] == "waits":
    wait_at_exit(thread.join)
thread.start()
"""


@pytest.mark.parametrize(("argument", "printed"), [("waits", "7\n"), ("does not", "")])
def test_pools_take_work_until_what_is_waited_for_has_ended(argument: str, printed: str) -> None:
    done = subprocess.run([sys.executable, "-c", LATE_WORK, argument], capture_output=True, text=True, timeout=60)
    assert done.stdout == printed, done.stderr


def test_nothing_is_kept_of_what_has_ended() -> None:
    private.wait_at_exit(print)
    waits, registered = len(private._waits), len(threading._threading_atexits)  # type: ignore[attr-defined]
    for _ in range(3):
        wait = threading.Thread(target=print).join
        private.wait_at_exit(wait)
        private.wait_no_more(wait)
    assert (len(private._waits), len(threading._threading_atexits)) == (waits, registered)  # type: ignore[attr-defined]
    private.wait_no_more(print)


LATE_REGISTRATION = """
import threading
from compat.private import wait_at_exit

at_exit = threading.Event()

def work():
    at_exit.wait()
    threading._register_atexit(print, "registered late")
    print("worked")

def wait():
    at_exit.set()
    thread.join()

thread = threading.Thread(target=work)
wait_at_exit(wait)
thread.start()
"""


def test_what_starts_while_the_interpreter_waits_may_register_for_its_exit() -> None:
    done = subprocess.run([sys.executable, "-c", LATE_REGISTRATION], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["worked", "registered late"], done.stderr


@pytest.mark.usefixtures("prefect_server")
def test_a_run_around_the_caller_is_seen_and_its_task_run_renamed() -> None:
    seen, ids = [], []

    @task(retries=0)
    def named() -> None:
        seen.append(private.is_in_run())
        private.rename_task_run(TaskRunContext.get(), "another name")

    @flow(retries=0)
    def outer() -> None:
        seen.append(private.is_in_run())
        ids.append(flow_run.get_id())
        named()

    assert not private.is_in_run()
    outer()
    assert seen == [True, True]
    only = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(ids[0])]))

    def names() -> list[str]:
        with get_client(sync_client=True) as client:
            return [run.name for run in client.read_task_runs(flow_run_filter=only)]

    processes.wait_until(lambda: names() == ["another name"])


@pytest.mark.usefixtures("prefect_server")
def test_a_flow_run_puts_a_handler_of_its_own_over_sigterm() -> None:
    seen = []

    @flow(retries=0)
    def outer() -> None:
        seen.append(private.is_prefects(signal.getsignal(signal.SIGTERM)))

    assert not private.is_prefects(signal.getsignal(signal.SIGTERM))
    outer()
    assert seen == [True]


# In a process of its own: in this one a worker may be at work for another API already.
UNSENT = """
from prefect.events import emit_event
from prefect.events.worker import EventsWorker
from compat import private

for number in range(20):
    emit_event(f"test.{number}", {"prefect.resource.id": "test"})
services = private.instances_of(EventsWorker)
left = private.unsent(services, 0.1)
private.leave(left)
services[0]._drain(at_exit=True).result()
print(left == services, private.unsent(services, 10))
"""


def test_what_prefect_was_not_told_keeps_no_process_from_its_end() -> None:
    with brokenprefect.serving(brokenprefect.hang) as (url, _):
        child = processes.start(UNSENT, PREFECT_API_URL=url)
        printed, errors = child.communicate(timeout=60)
    assert printed == "True []\n", errors


def test_a_worker_names_the_flow_run_and_a_server_knows_that_it_is_embedded() -> None:
    import prefect.runner
    import prefect.server.api.server as server
    import prefect.settings.models.root as root

    runner = "".join(path.read_text(encoding="utf-8") for path in Path(prefect.runner.__file__ or "").parent.glob("*.py"))
    assert f'"{private.STARTED_FOR}": str(flow_run.id)' in runner
    texts = inspect.getsource(server) + inspect.getsource(root)
    assert [name for name in private.EMBEDDED if name not in texts] == []


def test_bad_turtle_is_known_by_its_line_and_reason() -> None:
    with pytest.raises(BadSyntax) as caught:
        rdflib.Graph().parse(data="@prefix a: <urn:a:> .\na:b a:c a:d .\na:b a:c ] .", format="turtle")
    line, reason = private.syntax_problem(caught.value)
    assert line == 3
    assert reason
    assert reason in str(caught.value)


def test_the_line_of_a_parser_that_fell_over_is_in_its_frames() -> None:
    with pytest.raises(IndexError) as caught:
        rdflib.Graph().parse(data="@prefix a: <urn:a:> .\na:b a:c a:d .\na:b a:c", format="turtle")
    assert private.line_of_parser(caught.value.__traceback__) == 3


def test_file_systems_know_the_folder_of_a_path() -> None:
    assert private.parent_of(fsspec.filesystem("file"), "/a/b.csv") == "/a"
    assert private.parent_of(fsspec.filesystem("memory"), "/a/b/c.csv") == "/a/b"
