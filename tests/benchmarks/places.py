"""From which size on processes, Dask and Ray pay: ``python -m tests.benchmarks places [DOCUMENTS ...]``.

Batches of 20, 100 and 500 documents without an argument, 20 ms of CPU each, run in legacy, 4 at a time, by threads, by processes,
and by two workers of a cluster on this machine that runs already. Prints the wall time of the batch, its start included, and how
many times that of threads; times compare only within one size. Dask and Ray are the extras of these names.
"""

import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.benchmarks.runs import ROOT, of_tests
from tests.benchmarks.unit import Case, turns_per_ms

SIZES = (20, 100, 500)
ROUNDS = 2


def seconds(place: str, case: Case) -> float:
    """Run a case in a process of its own. Returns the best of its rounds."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="places-")))
        os.environ["BENCHMARK_CASE"] = case.as_json()
        clusters = of_tests("reliability.test_clusters").test_clusters if place in ("dask", "ray") else None
        cluster = ""
        if place == "dask":
            cluster = stack.enter_context(clusters.dask_cluster(folder / "cluster", **clusters.ONCE))
        elif place == "ray":
            cluster = stack.enter_context(clusters.ray_cluster(folder / "cluster"))
        found = []
        for number in range(ROUNDS):
            variables = {"KNOWLEDGE_HOME": f"{folder}/home-{number}", "KNOWLEDGE_RUN_ON": place, "KNOWLEDGE_CLUSTER": cluster}
            command = [sys.executable, "-m", "tests.benchmarks.systems.ours", case.as_json(), "legacy"]
            done = subprocess.run(
                command, env={**os.environ, **variables}, cwd=ROOT, input="\n", stdout=subprocess.PIPE, text=True, check=True
            )
            [line] = [each for each in done.stdout.splitlines() if each.startswith("{")]
            found.append(float(json.loads(line)["wall"]))
        return min(found)


def main() -> None:
    os.environ |= {"PYTHONPATH": str(ROOT), "KNOWLEDGE_EXTRACTOR": "tests.benchmarks.systems.ours:Unit"}
    turns = turns_per_ms()
    for size in [int(each) for each in sys.argv[1:]] or SIZES:
        case = Case(documents=size, work_ms=20, turns_per_ms=turns)
        threads = seconds("threads", case)
        print(f"{size:6} documents of 20 ms, threads    {threads:6.2f} s", flush=True)
        for place in ("processes", "dask", "ray"):
            took = seconds(place, case)
            print(f"{size:6} documents of 20 ms, {place:10} {took:6.2f} s, {took / threads:.2f} times threads", flush=True)


if __name__ == "__main__":
    main()
