"""What every system works on: the same documents, the same work on each, the same failures. Needs nothing of ours.

A document's work is a number of turns of a loop for each millisecond of CPU, counted out once so that all systems do the same,
and a wait. It returns 10 entities and 5 relations. Where ``failing`` is 20, each 20th document fails at its first attempt.
"""

import gc
import json
import os
import sys
import time
import zlib
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

ENTITIES, RELATIONS, NAMES = 10, 5, 1024
READY = "ready"


@dataclass(frozen=True)
class Case:
    """What one run has to do. ``folder`` is its own, and empty at its start."""

    documents: int = 1_000
    concurrency: int = 4
    work_ms: float = 0.0
    wait_ms: float = 0.0
    failing: int = 0
    database: str = "sqlite"
    # Entities merged over the batch, and names of which most are new in each document; of our runtimes alone.
    resolution: bool = False
    turns_per_ms: int = 0
    folder: str = ""
    api: str = ""

    def as_json(self) -> str:
        return json.dumps(asdict(self))


class FirstAttemptError(RuntimeError):
    """What a failing document raises at its first attempt."""


def given() -> tuple[Case, list[str]]:
    """The case of this process, and the words behind it."""
    return Case(**json.loads(sys.argv[1])), sys.argv[2:]


def spin(turns: int, number: int) -> int:
    for _ in range(turns):
        number = (number * 69069 + 1) & 0xFFFFFFFF
    return number


def turns_per_ms() -> int:
    """Turns that this machine makes in a millisecond of CPU, by the best of several tries."""

    def seconds(turns: int) -> float:
        began = time.thread_time()
        spin(turns, 1)
        return time.thread_time() - began

    return int(100_000 / min(seconds(100_000) for _ in range(20)) / 1000)


@cache
def text_of(number: int) -> str:
    return f"Document {number}. " + "The schooner was built in a yard by the river. " * 10


def work(number: int, text: str, case: Case) -> list[str]:
    """Do a document's work. Returns the names of its entities."""
    seed = spin(int(case.work_ms * case.turns_per_ms), zlib.crc32(text.encode()))
    if case.wait_ms:
        time.sleep(case.wait_ms / 1000)
    if case.failing and number % case.failing == 0 and _is_first(number, case):
        raise FirstAttemptError(f"document {number}: its first attempt")
    if case.resolution:
        return [f"{zlib.crc32(f'{number} {k}'.encode()):x} {number * 7 + k:x}" for k in range(ENTITIES)]
    return [f"name {seed + k * 37 & NAMES - 1}-{k}" for k in range(ENTITIES)]


def plain(number: int, text: str, case: Case) -> dict[str, Any]:
    """The result of a document as plain data, for systems that aren't ours."""
    names = work(number, text, case)
    entities = [{"id": f"e{k}", "name": name, "type": "thing"} for k, name in enumerate(names)]
    relations = [{"subject": f"e{k}", "predicate": "knows", "object": f"e{k + 5}"} for k in range(RELATIONS)]
    return {"id": number, "entities": entities, "relations": relations}


def plain_with_retries(number: int, text: str, case: Case) -> dict[str, Any]:
    try:
        return plain(number, text, case)
    except FirstAttemptError:
        return plain(number, text, case)


def _is_first(number: int, case: Case) -> bool:
    # By a file: attempts may be made in several processes.
    try:
        (Path(case.folder) / f"failed-{number}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


class Clock:
    """Measures a batch: wall time, and CPU of this process and its children. Use as a context manager.

    Before it starts it says that all is ready, and waits for a line, so that whoever runs this may let others come to rest.
    """

    def __enter__(self) -> "Clock":
        # What was made until now is none of the batch's to look through for garbage.
        gc.collect()
        print(READY, flush=True)
        sys.stdin.readline()
        self._cpu, self._began = _cpu_seconds(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall = time.perf_counter() - self._began
        self.cpu = _cpu_seconds() - self._cpu

    def report(self, results: int, case: Case, **more: Any) -> None:
        """Print the run's line. Raises where results are missing."""
        if results != case.documents:
            raise SystemExit(f"{results} of {case.documents} documents have a result")
        print(json.dumps({"wall": self.wall, "cpu": self.cpu, "ended": time.time(), **more}), flush=True)


def _cpu_seconds() -> float:
    import resource

    import psutil

    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = time.process_time() + ended.ru_utime + ended.ru_stime
    for child in psutil.Process(os.getpid()).children(recursive=True):
        try:
            seconds += sum(child.cpu_times()[:4])
        except psutil.Error:
            continue
    return seconds
