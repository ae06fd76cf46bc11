"""What the production layout takes.

Run: python -m tests.benchmarks production-sizes

PostgreSQL for the service and for Prefect, one Prefect server, and workers as on machines of their own; batches of real
documents in engine mode, first with one worker, then with two. Prints what a document leaves in the service's database
and a batch in Prefect's, what server, worker and flow run hold in memory, how many connections were open at most, and
how long the batches took. Wants PostgreSQL's programs, and the real documents beside the checkout.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]
FOLDER = TESTS.parents[1] / "shared" / "data" / "redocred"
BATCHES = 6
# Runs that a worker has at a time.
LIMIT = "2"
CONCURRENCY = 4
MIB = 2**20


def memory(process: Any) -> float:
    """MiB that a process holds for itself; what it shares with others is theirs as well."""
    return float(process.memory_full_info().uss) / MIB


class Watch:
    """The most that was seen of each kind of process, and of connections by database."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.memory: dict[str, float] = {}
        self.connections: Counter[str] = Counter()

    def look(self) -> None:
        import psutil
        from sqlalchemy import text

        found: Counter[str] = Counter()
        for process in psutil.Process().children(recursive=True):
            try:
                command = " ".join(process.cmdline())
                kinds = {"prefect server start": "server", "uvicorn": "server", "worker start": "worker", "flow-run": "run"}
                kind = next((kind for part, kind in kinds.items() if part in command), None)
                kind = "run" if kind is None and "prefect.engine" in command else kind
                if kind == "server":
                    found[kind] += round(memory(process))
                elif kind is not None:
                    found[kind] = max(found[kind], round(memory(process)))
            except psutil.Error:
                continue
        for kind, mebibytes in found.items():
            self.memory[kind] = max(mebibytes, self.memory.get(kind, 0))
        query = "SELECT datname, count(*) FROM pg_stat_activity WHERE datname IS NOT NULL GROUP BY 1"
        for database, count in self._connection.execute(text(query)):
            self.connections[database] = max(count, self.connections[database])


def main() -> None:
    import processes
    import sqlalchemy
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from sqlalchemy import text

    import postgres

    programs = postgres.binaries()
    if programs is None or not FOLDER.is_dir():
        sys.exit("wants PostgreSQL's programs, and the real documents beside the checkout")
    home = Path(tempfile.mkdtemp(prefix="sizes-"))
    documents = len((FOLDER / "documents.jsonl").read_text(encoding="utf-8").splitlines())
    with ExitStack() as stack:
        server = stack.enter_context(postgres.cluster(programs)).url
        service, prefect = (stack.enter_context(postgres.fresh(server)) for _ in range(2))
        postgres.upgrade(service)
        administrator = sqlalchemy.create_engine(server, isolation_level="AUTOCOMMIT").connect()
        stack.callback(administrator.close)
        os.environ |= {
            "KNOWLEDGE_HOME": str(home / "home"),
            "KNOWLEDGE_DATABASE_URL": service,
            "KNOWLEDGE_SOURCES_ALLOW": str(FOLDER),
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": prefect.replace("+psycopg", "+asyncpg"),
            "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
            "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "200",
            "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
        }
        api, _ = stack.enter_context(processes.prefect_server(home / "server"))
        for command in (
            ["work-pool", "create", "knowledge-batch", "--type", "process"],
            ["--no-prompt", "deploy", "--all"],
        ):
            variables = processes.environment(PREFECT_API_URL=api, PREFECT_HOME=str(home / "deploy"))
            line = [sys.executable, "-m", "prefect", *command]
            subprocess.run(line, check=True, capture_output=True, cwd=TESTS.parent, env=variables)
        names = {sqlalchemy.make_url(url).database: name for url, name in ((service, "service"), (prefect, "Prefect"))}

        def sizes() -> dict[str, int]:
            query = text("SELECT pg_database_size(:name)")
            return {name: administrator.execute(query, {"name": database}).scalar() for database, name in names.items()}

        for workers in (1, 2):
            before, watch = sizes(), Watch(administrator)
            with (
                ExitStack() as machines,
                temporary_settings({PREFECT_API_URL: api}),
                get_client(sync_client=True) as client,
            ):
                for number in range(workers):
                    folder = home / f"{workers}-{number}"
                    machines.enter_context(processes.prefect_worker(api, folder, "knowledge-batch", "--limit", LIMIT))
                deployment = client.read_deployment_by_name("run-batch/on-demand").id
                began = time.monotonic()
                runs = [
                    client.create_flow_run_from_deployment(
                        deployment,
                        parameters={
                            "source": str(FOLDER),
                            "mode": "engine",
                            "concurrency": CONCURRENCY,
                            "batch_id": f"{workers} workers, {number}",
                        },
                    ).id
                    for number in range(BATCHES)
                ]
                while True:
                    watch.look()
                    states = Counter(str(client.read_flow_run(run).state_name) for run in runs)
                    if not set(states) - {"Completed", "Failed", "Crashed"}:
                        break
                    time.sleep(0.2)
                seconds = time.monotonic() - began
            grown = {name: size - before[name] for name, size in sizes().items()}
            print(f"{workers} workers: {dict(states)} of {BATCHES} batches of {documents} documents in {seconds:.1f} s")
            print(f"  service: {grown['service'] / BATCHES / documents / 1024:.1f} KiB a document")
            print(f"  Prefect: {grown['Prefect'] / BATCHES / 1024:.0f} KiB a batch")
            print("  memory: " + ", ".join(f"{kind} {most:.0f} MiB" for kind, most in sorted(watch.memory.items())))
            print("  connections: " + ", ".join(f"{names[each]} {watch.connections[each]}" for each in names))


if __name__ == "__main__":
    main()
