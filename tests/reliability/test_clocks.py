"""Machines whose clocks differ: leases go by the database's clock, and by no other."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import processes
import pytest

import faults
import flows
from compat.store import Store

OFFSETS = ["+70s", pytest.param("-70s", marks=pytest.mark.slow)]

# Says how a batch stands by a machine of another time, and tries to take it from its holder.
ANOTHER_MACHINE = """
import json, sys, time
import flows
from compat.errors import BatchAlreadyRunningError
from compat.store import Store
store = Store.from_settings()
try:
    flows.resume_batch(sys.argv[1])
    taken = "resumed"
except BatchAlreadyRunningError:
    taken = "refused"
found = store.batch(sys.argv[1])
print(json.dumps([time.time(), type(flows.get_status(sys.argv[1])).__name__, taken, store.reconcile(sys.argv[1]), found.dead]))
"""


def another_machine(batch_id: str, offset: str) -> list[Any]:
    """What a process finds whose clock is off by so many seconds."""
    command = ["faketime", "-f", offset, sys.executable, "-c", ANOTHER_MACHINE, batch_id]
    done = subprocess.run(command, env=processes.environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def living(environment: pytest.MonkeyPatch, request_of: Any, tmp_path: Any) -> Iterator[str]:
    """A batch that another process holds, with documents in work."""
    if shutil.which("faketime") is None:
        pytest.skip("no faketime here: install Debian's faketime")
    environment.setenv("KNOWLEDGE_EXTRACTOR", "faults:held")
    environment.setenv(faults.OPEN, str(tmp_path / "open"))
    request = request_of([faults.document("first"), faults.document("second")], batch_id="living")
    child = processes.start(processes.RUN, "legacy", request=json.dumps(request))
    processes.wait_until(lambda: faults.knocks()["second"] == 1)
    yield "living"
    (tmp_path / "open").touch()
    assert child.wait(timeout=60) == 0
    child.communicate()
    assert type(flows.get_status("living")).__name__ == "Completed"
    assert faults.knocks() == {"first": 1, "second": 1}


@pytest.mark.parametrize("offset", OFFSETS)
def test_a_machine_of_another_time_does_not_take_a_living_batch_for_dead(living: str, offset: str) -> None:
    now, state, taken, status, dead = another_machine(living, offset)
    # Its clock is off, by its own account.
    ours = Store.from_settings().batch(living).read_at.timestamp()
    assert 60 < abs(now - ours) < 80
    assert (state, taken, status, dead) == ("Extracting", "refused", "running", False)


@pytest.mark.parametrize("offset", OFFSETS)
def test_a_holder_of_another_time_is_not_taken_for_dead_either(
    offset: str, environment: pytest.MonkeyPatch, request_of: Any, tmp_path: Any
) -> None:
    if shutil.which("faketime") is None:
        pytest.skip("no faketime here: install Debian's faketime")
    environment.setenv("KNOWLEDGE_EXTRACTOR", "faults:held")
    environment.setenv(faults.OPEN, str(tmp_path / "open"))
    request = request_of([faults.document("first"), faults.document("second")], batch_id="elsewhere")
    command = ["faketime", "-f", offset, sys.executable, "-c", processes.RUN, "legacy"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=processes.environment(), text=True) as child:
        assert child.stdin is not None
        child.stdin.write(json.dumps(request))
        child.stdin.close()
        processes.wait_until(lambda: faults.knocks()["second"] == 1)
        batch = Store.from_settings().batch("elsewhere")
        assert not batch.dead
        assert 0 <= batch.silent_seconds < 30
        (tmp_path / "open").touch()
        assert child.wait(timeout=60) == 0
