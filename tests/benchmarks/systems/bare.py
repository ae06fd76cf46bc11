"""What Python does alone, with nothing stored: ``threads`` or ``processes``."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

from tests.benchmarks.unit import Case, Clock, given, plain_with_retries, text_of


def one(case: Case, number: int) -> dict[str, Any]:
    return plain_with_retries(number, text_of(number), case)


def main() -> None:
    case, (kind,) = given()
    pools: dict[str, Callable[[], Any]] = {
        "threads": lambda: ThreadPoolExecutor(case.concurrency),
        "processes": lambda: ProcessPoolExecutor(case.concurrency, mp_context=get_context("spawn")),
    }
    with pools[kind]() as pool:
        # Started before the clock is.
        list(pool.map(abs, range(case.concurrency * 4)))
        with Clock() as clock:
            results = list(pool.map(partial(one, case), range(case.documents)))
    clock.report(len(results), case)


if __name__ == "__main__":
    main()
