"""Measures this software beside others: ``python -m tests.benchmarks PART … [options]``."""

import argparse
import runpy
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from tests.benchmarks import runs, start
from tests.benchmarks.cases import PARTS, SYSTEMS

# Programs with figures and words of their own, each described in its module.
PROGRAMS = ("extraction-scaling", "graph-sizes", "model-calls", "places", "production-sizes", "reading-sizes", "shadow-cost")
EPILOG = """
parts: no-work, postgresql, cpu, waiting, growth, server, start; all is every one of them. Their figures are kept in
tests/benchmarks/results, newer ones in place of older ones of the same case; report makes the tables and plots of the
documentation from them, which every part does at its end.

programs of their own, which print and keep nothing; what follows the name is theirs:
  extraction-scaling            how extraction's time grows with its input
  graph-sizes [DOCUMENTS ...]   what exports and the page of a graph take
  model-calls [DOCUMENTS [MS ...]]  what a call of a model costs beside the model
  places [DOCUMENTS ...]        from which size on processes, Dask and Ray pay
  production-sizes              what the production layout takes
  reading-sizes [DOCUMENTS ...] what a comparison, the gate, a subscriber, a result and an export take
  shadow-cost                   what shadow mode costs while Prefect is broken
"""


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(each) for each in text.split(","))


def names(text: str) -> tuple[str, ...]:
    given = tuple(text.split(","))
    unknown = [each for each in given if each not in SYSTEMS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not among {', '.join(SYSTEMS)}")
    return given


def main(words: list[str]) -> None:
    if words[:1] and words[0] in PROGRAMS:
        sys.argv = words
        runpy.run_module(f"tests.benchmarks.{words[0].replace('-', '_')}", run_name="__main__")
        return
    parser = argparse.ArgumentParser(
        "python -m tests.benchmarks", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="+", choices=["all", *PARTS, "start", "report"], metavar="PART")
    parser.add_argument("--n", type=numbers, default=(), metavar="N,…", help="documents in a batch; by default the part's")
    parser.add_argument("--concurrency", type=numbers, default=(), metavar="N,…", help="documents in work at a time")
    parser.add_argument("--systems", type=names, default=(), metavar="NAME,…", help=f"of {', '.join(SYSTEMS)}")
    parser.add_argument("--rounds", type=int, help="turns of each system; by default the part's, mostly 3")
    parser.add_argument(
        "--peers", default=sys.executable, metavar="PYTHON", help="the interpreter that has celery[redis], huey and psutil"
    )
    parser.add_argument(
        "--results", type=Path, default=runs.RESULTS, metavar="FOLDER", help="keep the figures there, and leave the documentation"
    )
    options = parser.parse_args(words)
    chosen = [*PARTS, "start"] if "all" in options.parts else options.parts
    with ExitStack() as stack:
        machine = runs.Machine(stack, options.peers)
        for name in chosen:
            if name == "start":
                start.measure(options.rounds or 3, options.results)
            elif name in PARTS:
                part = PARTS[name]
                cases = list(part.cases(options.n, options.concurrency))
                systems = options.systems or part.systems
                runs.measure(machine, name, part, cases, systems, options.rounds or part.rounds, options.results)
    if options.results == runs.RESULTS:
        # Tables and plots are among its generated parts.
        subprocess.run([sys.executable, str(runs.ROOT / "docs" / "site" / "generate.py")], check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
