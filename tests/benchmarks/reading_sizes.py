"""What it takes to read a large batch: a comparison, the gate, a subscriber, the whole result, an export.

Run: python -m tests.benchmarks reading-sizes [DOCUMENTS ...]

For each number of documents (1,000, 5,000 and 20,000 without one) makes a batch of documents with two entities each, and copies
it as its own shadow. Each reader is a process of its own: CPU a document, and the memory that it added to the process.
"""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).parents[1]
PATHS = [str(TESTS), str(TESTS.parent)]
sys.path[:0] = PATHS

MAKE = """
import sys, faults, flows
from flows.sources.documents import Documents, Row
from compat.contracts import PipelineConfig
class Two:
    def run(self, text, ontology, config):
        return faults.graph_of([config.document_id, "Shared Name"], config)
faults.two = Two
rows = (Row(f"row {n}", f"d{n}", f"document {n} of this batch") for n in range(int(sys.argv[1])))
request = Documents(rows, "# none").request("large", {"concurrency": 4, "enableEntityResolution": False})
print(type(flows.run_request(request, "legacy")).__name__)
"""
# What each reader does with the stores `main` and `shadow`. The first stores the report that the gate reads.
READERS = {
    "compare": """
from compat.parity import archive
from compat.parity.report import compare_batch
report = compare_batch(main, shadow, "large")
assert report.verdict == "parity", report.headline
archive.save(shadow.database, report)
""",
    "gate": """
from datetime import timedelta
from compat.parity import archive
assert archive.judged(main.database, shadow.database, 1, timedelta(days=1)).rows
""",
    "subscribe": """
assert sum(1 for _ in flows.subscribe("large")) > 2 * documents
""",
    "result": """
assert main.result("large").success_count == documents
""",
    "export": """
from pathlib import Path
from flows.graph.export import export
export(main, ["large"], Path("graph.csv"))
""",
}
BEFORE = """
import resource, sys, time
import flows, flows.graph.export, compat.parity.report
from compat.store import Store
documents, main, shadow = int(sys.argv[1]), Store.from_settings(), Store.of_shadows()
main.batch("large")
base, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
"""
AFTER = """
took, peak = time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(f"{took / documents * 1000:.2f} ms of CPU a document, + {(peak - base) / 1024:.0f} MiB")
"""


def run(program: str, home: Path, *arguments: str) -> str:
    variables = {"KNOWLEDGE_HOME": str(home), "KNOWLEDGE_EXTRACTOR": "faults:two", "PYTHONPATH": os.pathsep.join(PATHS)}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=home,
        env={**os.environ, **variables},
    )
    return done.stdout.strip()


def main() -> None:
    for documents in sys.argv[1:] or ["1000", "5000", "20000"]:
        home = Path(tempfile.mkdtemp(prefix="reading-sizes-"))
        run(MAKE, home, documents)
        # Not as a file: the last rows may be in the log beside it.
        with sqlite3.connect(home / "knowledge.db") as main_file, sqlite3.connect(home / "knowledge.shadow.db") as copy:
            main_file.backup(copy)
        for name, program in READERS.items():
            print(f"{documents:>7} documents, {name:10} {run(BEFORE + program + AFTER, home, documents)}", flush=True)
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
