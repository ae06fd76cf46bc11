"""Prefect as it comes, against the case's server: a flow of task runs of 10 documents each.

A task run commits its documents' rows to SQLite. ``threads`` or ``processes`` is where the task runs are.
"""

import json
import sqlite3
from typing import Any

from prefect import flow, task, unmapped
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

from tests.benchmarks.unit import Case, Clock, given, plain_with_retries, text_of

DOCUMENTS = 10


@task(retries=2)
def shard(numbers: list[int], case: Case) -> list[dict[str, Any]]:
    results = [plain_with_retries(number, text_of(number), case) for number in numbers]
    database = sqlite3.connect(f"{case.folder}/rows.db", timeout=30)
    rows = [(result["id"], "done", json.dumps(result)) for result in results]
    with database:
        database.executemany("INSERT OR REPLACE INTO document VALUES (?, ?, ?)", rows)
    database.close()
    return results


@flow
def shards(case: Case) -> list[dict[str, Any]]:
    blocks = [list(range(first, min(first + DOCUMENTS, case.documents))) for first in range(0, case.documents, DOCUMENTS)]
    futures = shard.map(blocks, unmapped(case))
    return [result for future in futures for result in future.result()]


@flow
def warm() -> None:
    return None


def main() -> None:
    case, (kind,) = given()
    database = sqlite3.connect(f"{case.folder}/rows.db")
    database.execute("PRAGMA journal_mode = wal")
    database.execute("CREATE TABLE document (id INTEGER PRIMARY KEY, status TEXT, result TEXT)")
    database.close()
    runner: Any = {"threads": ThreadPoolTaskRunner, "processes": ProcessPoolTaskRunner}[kind](max_workers=case.concurrency)
    warm()
    run = shards.with_options(task_runner=runner)
    with Clock() as clock:
        results = run(case)
    clock.report(len(results), case)


if __name__ == "__main__":
    main()
