"""How the pipeline's time grows with its input: ``python -m tests.benchmarks extraction-scaling``.

Needs the package installed, or the checkout on PYTHONPATH. Prints, a line each, the seconds for an input and for one four times
as large, and their ratio: about 4 is linear, 16 quadratic. Resolution compares names with names, so its ratio is above 4.
"""

import random
import time
from collections.abc import Callable
from importlib.resources import files

from compat.contracts import Entity, PipelineConfig
from tasks.extraction import RulesExtractor, resolve
from tasks.extraction.chunking import split

UNITS = ["The Harrier is a schooner built by Ada Lind. ", "Ada, ", "word ", "😀", "مرحبا بالعالم. ", "\n", "(", '"a ']
ONTOLOGY = (files("deployments") / "sample" / "ontology.ttl").read_text(encoding="utf-8")
CONFIG = PipelineConfig(document_id="d", organization_id="o", ontology_id="o")


def seconds(work: Callable[[int], object], size: int) -> float:
    # Of this thread alone: what else the machine does doesn't count.
    began = time.thread_time()
    work(size)
    return time.thread_time() - began


def entities(number: int) -> list[tuple[str, Entity]]:
    letters = random.Random(7)  # noqa: S311
    names = ("".join(letters.choices("abcdefghij ", k=letters.randint(5, 30))) for _ in range(number))
    return [("d", Entity(id=f"e{n}", mention=name, types=("T",))) for n, name in enumerate(names)]


def main() -> None:
    rules = RulesExtractor()
    rules.run("warm", ONTOLOGY, CONFIG)
    measured: list[tuple[str, Callable[[int], object], int]] = []
    for unit in UNITS:
        shown = repr(unit[:24])
        measured.append((f"rules {shown}", lambda size, unit=unit: rules.run(unit * size, ONTOLOGY, CONFIG), 50_000 // len(unit)))
        measured.append((f"chunks {shown}", lambda size, unit=unit: split(unit * size), 250_000 // len(unit)))
    measured.append(("entities resolved", lambda size: resolve(entities(size)), 2_500))
    print(f"{'what':40}{'once':>10}{'4 times':>10}{'ratio':>8}")
    for what, work, size in measured:
        one, four = seconds(work, size), seconds(work, 4 * size)
        print(f"{what:40}{one:9.2f}s{four:9.2f}s{four / max(one, 1e-6):8.1f}")


if __name__ == "__main__":
    main()
