"""What is measured: each part of the benchmarks as systems and the cases that they run."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tests.benchmarks.unit import Case


@dataclass(frozen=True)
class System:
    """A program that runs a case. ``peer``: one of others, run by the interpreter that has it installed."""

    title: str
    program: str
    argument: str = ""
    database: str = "sqlite"
    run_on: str = "threads"
    is_peer: bool = False
    is_served: bool = False

    @property
    def module(self) -> str:
        return f"tests.benchmarks.systems.{self.program}"


SYSTEMS = {
    "rows": System("the rows alone", "raw_rows"),
    "rows-pg": System("the rows alone, PostgreSQL", "raw_rows", database="postgresql"),
    "threads": System("bare threads", "bare", "threads"),
    "pool": System("bare process pool", "bare", "processes"),
    "legacy": System("legacy", "ours", "legacy"),
    "legacy-pg": System("legacy, PostgreSQL", "ours", "legacy", database="postgresql"),
    "legacy-processes": System("legacy, processes", "ours", "legacy", run_on="processes"),
    "engine": System("engine", "ours", "engine", is_served=True),
    "engine-pg": System("engine, PostgreSQL", "ours", "engine", database="postgresql", is_served=True),
    "engine-processes": System("engine, processes", "ours", "engine", run_on="processes", is_served=True),
    "celery": System("Celery + Redis", "celery_queue", "threads", is_peer=True),
    "celery-prefork": System("Celery + Redis, prefork", "celery_queue", "prefork", is_peer=True),
    "huey": System("huey", "huey_queue", is_peer=True),
    "shards": System("Prefect, shards of 10", "prefect_shards", "threads", is_served=True),
    "shards-processes": System("Prefect, shards of 10, processes", "prefect_shards", "processes", is_served=True),
}
PEERS = ("celery", "huey", "shards")


@dataclass(frozen=True)
class Part:
    """Cases that are run and shown together.

    ``floor`` is the system whose figures the others' are multiples of, by ``measure``: cpu, wall, or ideal, which is the wall
    time against that of the waits alone. ``floors`` are those that differ.
    """

    title: str
    systems: tuple[str, ...]
    case: Case
    floor: str
    measure: str
    documents: tuple[int, ...] = (100, 1_000)
    concurrency: tuple[int, ...] = (4,)
    # Each the number of documents of which one fails at its first attempt; 0 is none.
    failing: tuple[int, ...] = (20,)
    rounds: int = 3
    floors: Mapping[str, str] = field(default_factory=dict)

    def cases(self, documents: Sequence[int] = (), concurrency: Sequence[int] = ()) -> Iterable[Case]:
        for failing in self.failing:
            for places in concurrency or self.concurrency:
                for count in documents or self.documents:
                    yield replace(self.case, documents=count, concurrency=places, failing=failing)


PARTS = {
    "no-work": Part(
        "No work", ("rows", "legacy", "engine", *PEERS), Case(), "rows", "cpu", (100, 1_000, 10_000), failing=(20, 0)
    ),
    "postgresql": Part(
        "No work, on PostgreSQL",
        ("legacy", "legacy-pg", "engine", "engine-pg", "rows-pg"),
        Case(),
        "legacy",
        "wall",
        (1_000,),
        (4, 20),
        (0,),
        floors={"engine-pg": "engine"},
    ),
    "cpu": Part(
        "20 ms of CPU, two processes",
        ("pool", "legacy-processes", "engine-processes", "celery-prefork", "shards-processes"),
        Case(work_ms=20),
        "pool",
        "wall",
        concurrency=(2,),
        failing=(0,),
    ),
    "waiting": Part(
        "50 ms of waiting",
        ("threads", "legacy", "engine", *PEERS),
        Case(wait_ms=50),
        "threads",
        "ideal",
        concurrency=(20, 4),
        failing=(0,),
    ),
    "growth": Part(
        "Growth, with 10 entities of their own in each document, merged over the batch",
        ("legacy", "engine"),
        Case(resolution=True),
        "legacy",
        "cpu",
        (1_000, 10_000, 100_000),
        failing=(0,),
        rounds=1,
    ),
    "server": Part(
        "Prefect's server", ("legacy", "engine"), Case(), "legacy", "cpu", (1, 1_000), (4, 20), failing=(0, 100), rounds=3
    ),
}
