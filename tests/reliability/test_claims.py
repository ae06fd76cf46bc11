"""R4: whoever calls, from wherever, a batch id is run by one."""

import json
from collections import Counter
from typing import Any

import processes
import pytest

import faults
import flows
from compat.store import Store

PROCESSES, THREADS = 4, 16

# Every thread starts every batch; all processes go at the same moment, when the gate opens.
PROGRAM = """
import json, os, sys, threading, time
from collections import Counter
import flows
from compat.errors import BatchAlreadyRunningError
requests, gate, threads = json.load(sys.stdin), sys.argv[1], int(sys.argv[2])
seen, lock = Counter(), threading.Lock()
open(gate + str(os.getpid()), "w").close()
while not os.path.exists(gate):
    time.sleep(0.005)
def call():
    for request in requests:
        try:
            outcome = "result" if flows.run_batch(request).success_count == 2 else "wrong"
        except BatchAlreadyRunningError:
            outcome = "running"
        with lock:
            seen[f"{request['batchId']} {outcome}"] += 1
pool = [threading.Thread(target=call) for _ in range(threads)]
[thread.start() for thread in pool]
[thread.join() for thread in pool]
print(json.dumps(seen))
"""


@pytest.mark.parametrize("batches", [6, pytest.param(20, marks=pytest.mark.slow)])
def test_64_callers_in_4_processes_run_each_batch_once(
    batches: int, environment: pytest.MonkeyPatch, request_of: Any, tmp_path: Any
) -> None:
    requests = [
        request_of([faults.document(f"{batch} {number}", seconds=0.02) for number in range(2)], batch_id=f"batch {batch}")
        for batch in range(batches)
    ]
    gate = tmp_path / "gate"
    children = [processes.start(PROGRAM, str(gate), str(THREADS), request=json.dumps(requests)) for _ in range(PROCESSES)]
    processes.wait_until(lambda: len(list(tmp_path.glob("gate*"))) == PROCESSES)
    gate.touch()
    seen: Counter[str] = Counter()
    for child in children:
        said, errors = child.communicate(timeout=180)
        assert (child.returncode, errors) == (0, "")
        seen.update(json.loads(said))
    for batch in range(batches):
        answers = {outcome: seen[f"batch {batch} {outcome}"] for outcome in ("result", "running", "wrong")}
        assert answers["wrong"] == 0
        # The one that ran it has the result, and so has whoever came after its end.
        assert answers["result"] >= 1
        assert answers["result"] + answers["running"] == PROCESSES * THREADS
    assert set(faults.knocks().values()) == {1}
    assert len(faults.knocks()) == 2 * batches


@pytest.mark.usefixtures("prefect_server", "environment")
@pytest.mark.parametrize("mode", ["legacy", "engine"])
def test_a_program_that_ends_waits_for_the_batches_it_started(mode: str, request_of: Any) -> None:
    from prefect.settings import PREFECT_API_URL

    program = "import json, sys, flows; print(flows.start_batch(json.load(sys.stdin), sys.argv[1]).model_dump_json())"
    request = request_of([faults.document(f"d{number}", seconds=0.1) for number in range(20)], batch_id="waited for")
    child = processes.start(program, mode, request=json.dumps(request), PREFECT_API_URL=PREFECT_API_URL.value() or "")
    said, errors = child.communicate(timeout=processes.PATIENCE)
    assert json.loads(said) == {"batchId": "waited for", "totalDocuments": 20}
    assert type(flows.get_status("waited for")).__name__ == "Completed", (flows.get_status("waited for"), errors)
    assert faults.knocks() == {f"d{number}": 1 for number in range(20)}
    batch = Store.from_settings().batch("waited for")
    assert (batch.mode, batch.rolled_back_from) == (mode, None), errors


def test_a_batch_is_started_here_read_there_cancelled_elsewhere(environment: pytest.MonkeyPatch, request_of: Any) -> None:
    request = request_of([faults.document(f"d{number}", held=True) for number in range(9)], batch_id="shared")
    starter = "import json, sys, flows; flows.start_batch(json.load(sys.stdin)); print('started', flush=True)"
    child = processes.start(starter, request=json.dumps(request))
    processes.wait_until(lambda: sum(faults.knocks().values()) == 3)
    state = flows.get_status("shared")
    assert type(state).__name__ == "Extracting"
    canceller = processes.start("import flows; flows.cancel_batch('shared')")
    assert canceller.wait(timeout=processes.PATIENCE) == 0
    faults.open_door()
    assert child.wait(timeout=processes.PATIENCE) == 0
    # Those that were in work when the cancel came, and no other.
    assert sum(faults.knocks().values()) == 3
    events = [type(event).__name__ for event in flows.subscribe("shared")]
    assert events[-1] == "BatchFailed"
    assert type(flows.get_status("shared")).__name__ == "Cancelled"
