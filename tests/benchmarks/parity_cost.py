"""What a comparison takes of time and memory.

Run: python -m tests.benchmarks parity-cost [DOCUMENTS ...]

For each number of documents (1,000, 5,000 and 20,000 without one) makes a batch of documents with two entities each, copies
it as its own shadow, and compares the two in a process of its own: seconds, and the most memory that it held.
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
rows = (Row(f"row {n}", f"d{n}", f"document {n}") for n in range(int(sys.argv[1])))
request = Documents(rows, "# none").request("large", {"concurrency": 4, "enableEntityResolution": False})
print(type(flows.run_request(request, "legacy")).__name__)
"""
COMPARE = """
import resource, time
from compat.parity.report import compare_batch
from compat.store import Store
main, shadow = Store.from_settings(), Store.of_shadows()
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
began = time.monotonic()
report = compare_batch(main, shadow, "large")
took = time.monotonic() - began
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
assert report.verdict == "parity", report.headline
print(f"{report.documents:6} documents in {took:5.1f} s, {took / report.documents * 1000:.1f} ms each;", end=" ")
print(f"{peak:.0f} MiB at most, {base:.0f} before")
"""


def run(program: str, home: Path, *arguments: str) -> str:
    variables = {"KNOWLEDGE_HOME": str(home), "KNOWLEDGE_EXTRACTOR": "faults:two", "PYTHONPATH": os.pathsep.join(PATHS)}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **variables},
    )
    return done.stdout.strip()


def main() -> None:
    for documents in sys.argv[1:] or ["1000", "5000", "20000"]:
        home = Path(tempfile.mkdtemp(prefix="parity-cost-"))
        run(MAKE, home, documents)
        # Not as a file: the last rows may be in the log beside it.
        with sqlite3.connect(home / "knowledge.db") as main_file, sqlite3.connect(home / "knowledge.shadow.db") as copy:
            main_file.backup(copy)
        print(run(COMPARE, home), flush=True)
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
