"""Runs of systems: each in a process of its own, in turns, so that what the machine does meanwhile meets all of them alike."""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.benchmarks.cases import SYSTEMS, Part, System
from tests.benchmarks.unit import READY, Case, turns_per_ms

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).with_name("results")
# A server is idle once it used less than this part of a core for so many seconds.
IDLE, IDLE_SECONDS, LOOK_SECONDS = 0.1, 1.0, 0.1
MOST_SECONDS = 1_800.0


class NotInstalledError(Exception):
    """A system or a database that this machine doesn't have."""


@dataclass
class Machine:
    """What runs share, started where the first one needs it."""

    stack: ExitStack
    peers: str

    @cached_property
    def turns(self) -> int:
        return turns_per_ms()

    @cached_property
    def server(self) -> Any:
        """Prefect's server: its URL, and its process with what it starts."""
        import psutil

        processes = of_tests("processes")
        home = self.stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-prefect-"))
        before = {child.pid for child in psutil.Process().children()}
        api, _ = self.stack.enter_context(processes.prefect_server(Path(home) / "server"))
        [process] = [child for child in psutil.Process().children() if child.pid not in before]
        return api, process

    @cached_property
    def cluster(self) -> Any:
        postgres = of_tests("postgres")
        programs = postgres.binaries()
        if programs is None:
            raise NotInstalledError("PostgreSQL's programs are not installed")
        return self.stack.enter_context(postgres.cluster(programs, durable=True))

    @contextmanager
    def database(self, system: System) -> Iterator[dict[str, str]]:
        if system.database == "sqlite":
            yield {}
            return
        postgres = of_tests("postgres")
        with postgres.fresh(self.cluster.url) as url:
            postgres.upgrade(url)
            yield {"KNOWLEDGE_DATABASE_URL": url}


def of_tests(module: str) -> Any:
    """A module of the tests, which import each other from their own folder."""
    folder = str(ROOT / "tests")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return __import__(module)


def run_once(machine: Machine, system: System, case: Case) -> dict[str, Any]:
    """Run a case in a new process, and wait until Prefect's server is idle again. Returns its figures."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-"))
        api, server = machine.server if system.is_served else ("", None)
        case = replace(case, turns_per_ms=machine.turns, folder=folder, api=api, database=system.database)
        variables = {name: value for name, value in os.environ.items() if not name.startswith(("KNOWLEDGE_", "PREFECT_"))}
        variables |= {
            "PYTHONPATH": str(ROOT),
            "KNOWLEDGE_HOME": f"{folder}/home",
            "KNOWLEDGE_EXTRACTOR": "tests.benchmarks.systems.ours:Unit",
            "KNOWLEDGE_RUN_ON": system.run_on,
            # Peers retry at once.
            "KNOWLEDGE_RETRY_BASE_SECONDS": "0.01",
            "BENCHMARK_CASE": case.as_json(),
            "DO_NOT_TRACK": "1",
            **stack.enter_context(machine.database(system)),
        }
        if system.is_served:
            variables |= {"PREFECT_API_URL": api, "PREFECT_HOME": f"{folder}/prefect"}
        interpreter = machine.peers if system.is_peer else sys.executable
        command = [interpreter, "-m", system.module, case.as_json(), *filter(None, [system.argument])]
        errors = stack.enter_context(open(f"{folder}/errors", "wb"))
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors, "text": True}
        child = subprocess.Popen(command, env=variables, cwd=ROOT, **pipes)
        if until(child, READY):
            if server is not None:
                # What the warm-up left for it to record.
                wait_until_idle(server)
            before, task_runs = cpu_of(server), task_runs_of(api)
            commits = commits_of(variables.get("KNOWLEDGE_DATABASE_URL"))
            child.stdin.write("\n")  # type: ignore[union-attr]
            child.stdin.flush()  # type: ignore[union-attr]
        line = until(child, "{")
        figures: dict[str, Any] = json.loads(line) if line else {}
        if figures and system.database == "postgresql":
            figures["commits"] = commits_of(variables["KNOWLEDGE_DATABASE_URL"]) - commits
        if figures and server is not None:
            at_end, idle_since = cpu_of(server), wait_until_idle(server)
            figures |= {"server": at_end - before, "server_after": cpu_of(server) - at_end}
            figures["busy"] = max(0.0, idle_since - figures["ended"])
            figures["task_runs"] = task_runs_of(api) - task_runs
        child.communicate(timeout=MOST_SECONDS)
        if not figures:
            raise NotInstalledError(Path(errors.name).read_text(errors="replace").strip().rpartition("\n")[2])
        return figures


def cpu_of(server: Any) -> float:
    if server is None:
        return 0.0
    return sum(sum(each.cpu_times()[:2]) for each in [server, *server.children(recursive=True)])


def commits_of(database: str | None) -> int:
    """Transactions that a PostgreSQL database has ended, as far as its sessions have reported them."""
    if database is None:
        return 0
    from sqlalchemy import create_engine, text

    engine = create_engine(database)
    with engine.connect() as connection:
        # A session reports once a second at most.
        time.sleep(2 * IDLE_SECONDS)
        query = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
        count = int(connection.execute(text(query)).scalar_one())
    engine.dispose()
    return count


def task_runs_of(api: str) -> int:
    """Task runs that the server has recorded."""
    import httpx

    return int(httpx.post(f"{api}/task_runs/count", json={}, timeout=60).json()) if api else 0


def until(child: "subprocess.Popen[str]", start: str) -> str:
    """The child's next line that begins so; empty where it ends before."""
    assert child.stdout
    return next((line for line in child.stdout if line.startswith(start)), "")


def wait_until_idle(server: Any) -> float:
    """Return when the server's work had ended."""
    last, idle_since = cpu_of(server), time.time()
    while time.time() - idle_since < IDLE_SECONDS:
        time.sleep(LOOK_SECONDS)
        now = cpu_of(server)
        if now - last > IDLE * LOOK_SECONDS:
            idle_since = time.time()
        last = now
    return idle_since


def measure(
    machine: Machine, name: str, part: Part, cases: Sequence[Case], systems: Sequence[str], rounds: int, folder: Path = RESULTS
) -> None:
    """Run cases in rounds, each system in its turn, and keep the figures. Newer runs of a case replace the older ones."""
    kept = Kept(folder / f"{name}.json")
    for case in cases:
        missing = set[str]()
        found: dict[str, list[dict[str, Any]]] = {}
        for number in range(rounds):
            for system in systems:
                if system in missing:
                    continue
                try:
                    figures = run_once(machine, SYSTEMS[system], case)
                except NotInstalledError as reason:
                    print(f"{part.title}: {SYSTEMS[system].title} is left out: {reason}", file=sys.stderr)
                    missing.add(system)
                    continue
                figures |= {"round": number, "load": os.getloadavg()[0]}
                figures = {key: round(value, 4) if isinstance(value, float) else value for key, value in figures.items()}
                found.setdefault(system, []).append(figures)
                print(line_of(name, system, case, figures), flush=True)
        kept.put(case, found)


def line_of(part: str, system: str, case: Case, figures: Mapping[str, Any]) -> str:
    per = 1000 / case.documents
    shown = f"{part:11}{system:18}{case.documents:7} documents, {case.concurrency:2} at a time, "
    shown += f"{'1 of ' + str(case.failing) if case.failing else 'none'} fails: "
    shown += f"{figures['cpu'] * per:8.2f} ms of CPU, {figures['wall'] * per:8.2f} ms"
    if "commits" in figures:
        shown += f"; {figures['commits'] / case.documents:.2f} transactions a document"
    if "server" in figures:
        shown += f"; server {figures['server'] + figures['server_after']:.1f} s, busy {figures['busy']:.1f} s after"
        shown += f", {figures['task_runs']} task runs"
    return shown


class Kept:
    """The figures of one part, as JSON."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"cases": []}

    def put(self, case: Case, found: Mapping[str, list[dict[str, Any]]]) -> None:
        """Keep the runs of a case in place of older runs of these systems."""
        key = key_of(case)
        entry = next((each for each in self.content["cases"] if each["case"] == key), None)
        if entry is None:
            entry = {"case": key, "systems": {}}
            self.content["cases"].append(entry)
        for system, runs in found.items():
            entry["systems"][system] = {"measured": moment(), "machine": machine_of(), "runs": runs}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.content, indent=1) + "\n")


def key_of(case: Case) -> dict[str, Any]:
    given = asdict(case)
    return {name: given[name] for name in ("documents", "concurrency", "work_ms", "wait_ms", "failing", "resolution")}


def moment() -> str:
    return datetime.now(UTC).isoformat(timespec="minutes")


def machine_of() -> str:
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
