"""Measure what exports and the page of a graph take: ``python -m tests.benchmarks graph-sizes [DOCUMENTS …]``.

Batches of made-up documents: 10 entities and 5 relations each, half of the names of a document known from others. Prints for each
format the seconds and the MiB that making it adds to a process that has the store open, each in a process of its own.
"""

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]
SIZES = (1_000, 5_000, 20_000)
ENDINGS = (".ttl", ".trig", ".jsonld", ".rdf", ".csv", ".parquet", ".graphml", ".json", ".neo4j.csv", ".cypher", ".html")
ONTOLOGY = """
@prefix : <https://example.org/made#> . @prefix owl: <http://www.w3.org/2002/07/owl#> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
:Thing a owl:Class ; rdfs:label "thing" . :knows a owl:ObjectProperty ; rdfs:label "knows" .
"""
MIB = 2**20


def texts(size: int) -> Iterator[tuple[str, list[str]]]:
    """Each document's id and the names in it."""
    dice = random.Random(3)  # noqa: S311
    letters = "abcdefghijklmnopqrstuvwxyz"
    shared = ["".join(dice.choices(letters, k=9)).capitalize() for _ in range(size)]
    for number in range(size):
        own = ["".join(dice.choices(letters, k=9)).capitalize() for _ in range(5)]
        yield f"document {number}", [*own, *dice.sample(shared, 5)]


def extraction(names: list[str]) -> dict[str, Any]:
    from compat.contracts import Entity, Evidence, ExtractionResult, KnowledgeGraph, Mention, Relation

    entities, start = [], 0
    for number, name in enumerate(names):
        mention = Mention(text=name, start_char=start, end_char=start + len(name))
        kinds = ("https://example.org/made#Thing",)
        entities.append(Entity(id=f"e{number}", mention=name, types=kinds, mentions=(mention,)))
        start += len(name) + 1
    evidence = Evidence(text=" ".join(names[:2]), start_char=0, end_char=len(" ".join(names[:2])))
    relations = tuple(
        Relation(
            id=f"r{number}",
            subject_id=f"e{number}",
            predicate_iri="https://example.org/made#knows",
            object_id=f"e{number + 5}",
            evidence=evidence,
        )
        for number in range(5)
    )
    found = ExtractionResult(graph=KnowledgeGraph(entities=tuple(entities), relations=relations))
    return found.model_dump(mode="json", by_alias=True)


def fill(size: int) -> float:
    """Stores a batch of this size as if it had been extracted, and resolves it. Returns the seconds of the latter."""
    from compat.contracts import BatchParams, DocumentInput, utc_now
    from compat.modes import Decision, Mode
    from compat.recording.recorder import Recorder
    from compat.store import Store
    from compat.store.schema import DocumentOutcome
    from compat.store.sql import blocks
    from tasks.extraction import resolve

    documents = list(texts(size))
    given = tuple(DocumentInput(document_id=id, text=" ".join(names) + ".", ontology_content=ONTOLOGY) for id, names in documents)
    store = Store.from_settings()
    params = BatchParams(batch_id="made", organization_id="o", ontology_id="o", documents=given)
    claim = store.claim(params, Decision(Mode.LEGACY, "a benchmark"), "made")
    assert claim is not None
    now = utc_now()
    with Recorder(store, claim) as recorder:
        recorder.begin()
        for block in blocks(enumerate(documents), 1_000):
            rows = [
                {
                    "batch_id": "made", "document_id": id, "position": position, "attempts": 1, "outcome": "succeeded",
                    "generation": 0, "started_at": now, "ended_at": now, "extraction": extraction(names),
                }
                for position, (id, names) in block
            ]  # fmt: skip
            with store.database.write() as connection:
                from sqlalchemy.dialects import sqlite

                table: Any = DocumentOutcome.__table__
                statement = sqlite.insert(table)
                columns = {name: statement.excluded[name] for name in rows[0] if name not in ("batch_id", "document_id")}
                connection.execute(
                    statement.on_conflict_do_update(index_elements=["batch_id", "document_id"], set_=columns), rows
                )
        began = time.process_time()
        recorder.resolve(resolve)
        seconds = time.process_time() - began
        recorder.finish()
    return seconds


def measure(ending: str, folder: Path) -> dict[str, float]:
    """In this process: CPU seconds and MiB that an export takes."""
    from compat.store import Store
    from flows.graph.export import export

    store = Store.from_settings()
    store.batch("made")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began = time.process_time()
    export(store, ["made"], folder / f"graph{ending}")
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": time.process_time() - began, "mebibytes": after - before}


def main() -> None:
    if sys.argv[1:2] == ["measure"]:
        print(json.dumps(measure(sys.argv[2], Path(sys.argv[3]))))
        return
    if sys.argv[1:2] == ["fill"]:
        print(fill(int(sys.argv[2])))
        return
    for size in [int(each) for each in sys.argv[1:]] or SIZES:
        with tempfile.TemporaryDirectory() as folder:
            environment = {**os.environ, "KNOWLEDGE_HOME": folder, "PYTHONPATH": os.pathsep.join(sys.path[:2])}
            environment.pop("KNOWLEDGE_DATABASE_URL", None)

            def child(*arguments: str, environment: dict[str, str] = environment) -> str:
                command = [sys.executable, __file__, *arguments]
                return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

            print(f"{size} documents: resolved in {float(child('fill', str(size))):.1f} s", flush=True)
            for ending in ENDINGS:
                found = json.loads(child("measure", ending, folder))
                per_document = found["seconds"] * 1000 / size
                shown = f"{found['seconds']:8.1f} s {per_document:6.2f} ms a document {found['mebibytes']:6.0f} MiB"
                print(f"  {ending:12}{shown}", flush=True)


if __name__ == "__main__":
    main()
