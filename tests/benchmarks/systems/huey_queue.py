"""huey with its queue and its results in SQLite; the consumer's threads are in this process."""

import os
import sys
import time
from typing import Any

from tests.benchmarks.unit import Clock, FirstAttemptError, given, plain, text_of


def main() -> None:
    from huey import SqliteHuey
    from huey.exceptions import TaskException

    case, _ = given()
    queue = SqliteHuey(filename=f"{case.folder}/huey.db", results=True)

    @queue.task(retries=2)  # type: ignore[untyped-decorator]
    def extract(number: int, text: str) -> dict[str, Any]:
        return plain(number, text, case)

    def result_of(handle: Any) -> Any:
        while True:
            try:
                return handle.get(blocking=True, backoff=1.0, max_delay=0.01, timeout=600)
            except TaskException as error:
                # The first attempt's; its retry is on the way.
                if FirstAttemptError.__name__ not in str(error):
                    raise
                handle.reset()
                time.sleep(0.01)

    consumer = queue.create_consumer(
        workers=case.concurrency, worker_type="thread", initial_delay=0.01, backoff=1.0, max_delay=0.01, periodic=False
    )
    consumer.start()
    with Clock() as clock:
        handles = [extract(number, text_of(number)) for number in range(case.documents)]
        results = [result_of(handle) for handle in handles]
    clock.report(len(results), case)
    # Its threads don't end by themselves.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
