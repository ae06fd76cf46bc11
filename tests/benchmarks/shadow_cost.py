"""What shadow mode costs its caller while the shadow's side is broken.

Run: python -m tests.benchmarks shadow-cost

Legacy and shadow mode take turns on the same real documents, ten times for each way in which Prefect can be broken:
refused (closed port), hanging (takes the connection, never answers), slow (a second, and then an error),
crashing (drops the connection in the middle of an answer). The submitting process is let live until it has met the broken
Prefect, or has written down that nobody is there; then the next turn has the machine for itself. Prints, for each, the median
times, the median of the turns' ratios (to be within 5 %), the slowest submission, what a submitting process takes of the
processor behind its caller's back, how many met the broken Prefect, whether the results were equal. Wants the real documents
beside the checkout.
"""

import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]
FOLDER = TESTS.parents[1] / "shared" / "data" / "redocred"
TIMES = 10
DOCUMENTS = 250


def main() -> None:
    home = tempfile.mkdtemp(prefix="shadow-cost-")
    os.environ.update({"KNOWLEDGE_HOME": home, "PYTHONPATH": os.pathsep.join(sys.path), "PREFECT_HOME": f"{home}/prefect"})
    import brokenprefect
    import flows
    from compat.store import Store, shadow_requests
    from flows.shadow import submission
    from flows.sources import readers as sources

    documents = list(sources.load(str(FOLDER)))[:DOCUMENTS]
    started: list[float] = []
    children: list[Any] = []
    request, start = submission.request, submission._start

    def timed(*arguments: Any) -> None:
        began = time.perf_counter()
        request(*arguments)
        started.append(time.perf_counter() - began)

    def remembered(*arguments: Any) -> Any:
        children.append(start(*arguments))
        return children[-1]

    submission.request, submission._start = timed, remembered

    def run(mode: str, met: list[Any]) -> tuple[float, Any]:
        before = len(met)
        began = time.perf_counter()
        result = flows.run_batch(
            {"organizationId": "o", "ontologyId": "o", "documents": documents, "config": {"concurrency": 4}}, mode
        )
        seconds = time.perf_counter() - began
        if mode == "shadow":
            see_off(result.batch_id, lambda: len(met) > before)
        graphs = {item.document_id: item.result.model_dump(exclude={"extraction": {"stats"}}) for item in result.document_results}
        return seconds, graphs

    def see_off(batch_id: str, has_met: Callable[[], bool]) -> None:
        """Waits until the submission has met Prefect, or has said why not, and ends it."""
        database, child = Store.from_settings().database, children.pop()
        while True:
            standing = shadow_requests.find(database, batch_id)
            if has_met() or (standing is not None and standing.reason):
                break
            time.sleep(0.05)
        child.terminate()
        child.wait()

    with ExitStack() as stack:
        broken = {"hanging": brokenprefect.hang, "slow": brokenprefect.answer_slowly, "crashing": brokenprefect.crash}
        apis = {name: stack.enter_context(brokenprefect.serving(behave)) for name, behave in broken.items()}
        run("legacy", [])
        columns = f"{'ratio':>8}{'slowest submission':>20}{'process':>10}{'met':>5}  results"
        print(f"{'Prefect is':12}{'legacy':>10}{'shadow':>10}{columns}")
        for name, (api, met) in {"refused": (brokenprefect.closed_port(), []), **apis}.items():
            os.environ["PREFECT_API_URL"] = api
            times: dict[str, list[float]] = {"legacy": [], "shadow": []}
            equal = True
            started.clear()
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            for turn in range(TIMES):
                found = {}
                for mode in ("legacy", "shadow") if turn % 2 else ("shadow", "legacy"):
                    seconds, found[mode] = run(mode, met)
                    times[mode].append(seconds)
                equal &= found["legacy"] == found["shadow"]
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            processor = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / TIMES
            one, other = (statistics.median(times[mode]) for mode in ("legacy", "shadow"))
            ratio = statistics.median(after / before for before, after in zip(times["legacy"], times["shadow"], strict=True))
            line = f"{name:12}{one:9.2f}s{other:9.2f}s{ratio:8.3f}{max(started) * 1000:17.0f} ms{processor:9.2f}s{len(met):5}"
            print(f"{line}  {'equal' if equal else 'DIFFERENT'} in {TIMES} of {TIMES}", flush=True)


if __name__ == "__main__":
    main()
