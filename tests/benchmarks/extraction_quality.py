"""Quality and speed of the rules on real sentences: ``python tests/benchmarks/extraction_quality.py ../shared/data``.

Needs the package installed, or the checkout on PYTHONPATH.

Prints one line per ontology, and the mean over Text2KGBench's ontologies. The measures are those of the data's README:
official F1 per sentence leaves out triples whose relation isn't among the sentence's expected ones; strict F1 is micro, over
all triples. No weights are fitted on these data, but about a hundred of the sentences were read while the rules were written.
"""

import json
import sys
import time
from calendar import month_name
from pathlib import Path
from statistics import mean
from typing import Any

from tasks.extraction import PipelineConfig, RulesExtractor, parse_ontology
from tasks.extraction.chunking import split_sentences

Triple = tuple[str, str, str]


def normal(text: str) -> str:
    """The form in which triples are compared."""
    return text.lower().replace(" ", "").replace("_", "")


def as_expected(value: str) -> str:
    """A year or a date as Wikidata-TekGen writes it: ``1984`` is ``01 January 1984`` there."""
    parts = value.split("-")
    if len(parts[0]) != 4 or not all(part.isdigit() for part in parts):
        return value
    year, month, day = (*parts, "01", "01")[:3]
    return f"{day} {month_name[int(month)]} {year}"


def rows_of(file: Path) -> list[dict[str, Any]]:
    """The objects of a JSON Lines file."""
    # Not splitlines, which also splits at characters that stand inside these texts.
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]


def measure(folder: Path) -> dict[str, float]:
    """The measures of one folder, shares and F1 from 0 to 1."""
    ontology_content = (folder / "ontology.ttl").read_text()
    ontology = parse_ontology(ontology_content)
    labels = {each.iri: each.label for each in ontology.properties}
    documents = rows_of(folder / "documents.jsonl")
    wanted = {row["documentId"]: row["triples"] for row in rows_of(folder / "expected.jsonl")}
    extractor = RulesExtractor()
    sentences = sum(len(split_sentences(each["text"])) for each in documents)
    scores: list[float] = []
    hits = found = expected_total = conforming = invented_subjects = invented_objects = 0
    seconds = 0.0
    for document in documents:
        text = normal(document["text"])
        config = PipelineConfig(document_id=document["documentId"], organization_id="benchmark", ontology_id=folder.name)
        started = time.perf_counter()
        graph = extractor.run(document["text"], ontology_content, config).graph
        seconds += time.perf_counter() - started
        names = {entity.id: entity.name for entity in graph.entities}
        got: set[Triple] = set()
        for relation in graph.relations:
            said = names[relation.object_id] if relation.object_id else str(relation.literal_value)
            subject = normal(names[relation.subject_id])
            label = labels.get(relation.predicate_iri)
            conforming += label is not None
            found += 1
            invented_subjects += subject not in text
            evidence = normal(relation.evidence.text if relation.evidence else "")
            year = normal(said.split("-")[0])
            invented_objects += normal(said) not in text and not (relation.object_id is None and year in evidence)
            object_ = as_expected(said) if relation.object_id is None else said
            got.add((subject, normal(label or ""), normal(object_)))
        expected = {(normal(row["sub"]), normal(row["rel"]), normal(row["obj"])) for row in wanted[document["documentId"]]}
        hits += len(got & expected)
        expected_total += len(expected)
        asked = {relation for _, relation, _ in expected}
        considered = {triple for triple in got if triple[1] in asked}
        right = len(considered & expected)
        scores.append(2 * right / (len(considered) + len(expected)) if expected else 0.0)
    return {
        "official_f1": mean(scores),
        "strict_f1": 2 * hits / max(1, found + expected_total),
        "precision": hits / max(1, found),
        "conformance": conforming / max(1, found),
        "invented_sub": invented_subjects / max(1, found),
        "invented_obj": invented_objects / max(1, found),
        "sentences_s": sentences / seconds,
        "triples": found,
    }


def main(data: Path) -> None:
    """Prints the table for ``text2kg/*`` and ``redocred`` below ``data``."""
    folders = [*sorted((data / "text2kg").glob("*/")), data / "redocred"]
    rows = {folder.name: measure(folder) for folder in folders if (folder / "expected.jsonl").exists()}
    if not rows:
        sys.exit(f"{data} holds no text2kg/*/expected.jsonl; give the folder with the real documents")
    columns = list(next(iter(rows.values())))
    print(f"{'ontology':14}" + "".join(f"{column:>14}" for column in columns))
    single = [row for name, row in rows.items() if name != "redocred"]
    rows["mean text2kg"] = {column: mean(row[column] for row in single) for column in columns} if single else {}
    for name, row in rows.items():
        print(f"{name:14}" + "".join(f"{value:14.3f}" if value <= 1 else f"{value:14.0f}" for value in row.values()))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tests/benchmarks/extraction_quality.py DATA_FOLDER")
    main(Path(sys.argv[1]))
