"""The figures of rules and linear: ``extraction_quality.py ../shared/data/text2kg ../shared/data/redocred``.

Needs the package with its extra ``train``, or the checkout on PYTHONPATH. Prints two tables in Markdown: both extractors on the
sentences of each ontology that aren't among its training rows, with a model for each; and what linear reaches with fewer rows,
trained on three of four training rows and scored on the fourth. With a second folder, of long texts, also a table of both
extractors on every other of them, linear trained on the rest, and of rules on all of them with and without pronouns and
possessives. Takes some minutes.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from tasks.extraction import RulesExtractor
from tasks.extraction.rules import references

SIZES = (50, 100, 200)
COLUMNS = (
    "official_f1",
    "strict_f1",
    "strict_precision",
    "strict_recall",
    "considered_precision",
    "type_precision",
)
INVENTED = ("invented_subjects", "invented_objects")


def command(*arguments: object) -> Any:
    """Run knowledge-batch; returns the JSON that it prints, if any."""
    path = os.pathsep.join((str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")))
    done = subprocess.run(
        [sys.executable, "-m", "flows.command.cli", *map(str, arguments)],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    return json.loads(done.stdout) if done.stdout.startswith("{") else None


def shown(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")


def row(name: str, measured: dict[str, Any], speed: float) -> str:
    """A line of the first table; the speed, which differs from machine to machine, comes last."""
    invented = ", ".join(shown(measured[key]) for key in INVENTED)
    return " | ".join(
        (f"| {name}", *(shown(measured[key]) for key in COLUMNS), shown(measured["conformance"]), invented, f"{speed:,.0f} |")
    )


def extractors(folders: Sequence[Path], models: Path) -> list[str]:
    lines = []
    for folder in folders:
        rows = ("--ontology", folder / "ontology.ttl", "--rows", folder / "train.jsonl")
        command("train", *rows, "--output", models / f"{folder.name}.npz")
    for name, options in (("`rules`", ("rules",)), ("`linear`", ("linear", "--model", models / "{source}.npz"))):
        found = command("evaluate", *folders, "--train-rows", "train.jsonl", "--format", "json", "--extractor", *options)
        speed = mean(each["sentencesPerSecond"] for each in found["sources"])
        lines.append(row(name, found["mean"]["clean"], speed))
        for each in found["sources"]:
            print(name, each["source"], shown(each["clean"]["official_f1"]), shown(each["clean"]["strict_f1"]), file=sys.stderr)
    return lines


def curve(folders: Sequence[Path], models: Path) -> list[str]:
    """Lines of the second table: rows an ontology, official and strict F1, each the mean of the ontologies."""
    scores: dict[str, list[dict[str, float]]] = {}
    for folder in folders:
        rows = [line for line in (folder / "train.jsonl").read_text(encoding="utf-8").split("\n") if line]
        learned = [line for place, line in enumerate(rows) if place % 4]
        (models / "rest.jsonl").write_text("\n".join(rows[::4]), encoding="utf-8")
        for size in (*SIZES, len(learned)):
            # Evenly over the file, which has one relation after the other.
            chosen = [learned[place * len(learned) // size] for place in range(size)]
            (models / "some.jsonl").write_text("\n".join(chosen), encoding="utf-8")
            model = models / "some.npz"
            command("train", "--ontology", folder / "ontology.ttl", "--rows", models / "some.jsonl", "--output", model)
            expected = ("--expected", models / "rest.jsonl", "--train-rows", models / "some.jsonl")
            found = command("evaluate", folder, *expected, "--extractor", "linear", "--model", model, "--format", "json")
            scores.setdefault(str(size) if size in SIZES else "all", []).append(found["mean"]["clean"])
    return [
        f"| {size} | {shown(mean(each['official_f1'] for each in all_))} | {shown(mean(each['strict_f1'] for each in all_))} |"
        for size, all_ in scores.items()
    ]


def long_texts(folder: Path, models: Path) -> list[str]:
    """Lines of the third table: official and strict F1 of both extractors on every other text, linear trained on the rest."""
    kept: dict[str, list[str]] = {}
    for name in ("documents.jsonl", "expected.jsonl"):
        lines = [line for line in (folder / name).read_text(encoding="utf-8").split("\n") if line]
        (models / name).write_text("\n".join(lines[1::2]), encoding="utf-8")
        kept[name] = lines[::2]
    learned = zip(kept["documents.jsonl"], kept["expected.jsonl"], strict=True)
    rows = [json.dumps(json.loads(expected) | json.loads(document)) for document, expected in learned]
    (models / "rows.jsonl").write_text("\n".join(rows), encoding="utf-8")
    ontology, model = ("--ontology", folder / "ontology.ttl"), models / "long.npz"
    command("train", *ontology, "--rows", models / "rows.jsonl", "--output", model)
    lines = []
    for name, chosen in (("`rules`", ("rules",)), ("`linear`", ("linear", "--model", model))):
        found = command("evaluate", models / "documents.jsonl", "--expected", models / "expected.jsonl", *ontology,
                        "--format", "json", "--extractor", *chosen)["mean"]["all"]  # fmt: skip
        lines.append(f"| {name} | {shown(found['official_f1'])} | {shown(found['strict_f1'])} |")
    return lines


def pronouns(folder: Path) -> list[str]:
    """Lines of the fourth table: what the rules find in all texts with pronouns, without possessive ones, and without any."""
    lines = []
    for name, extractor in (
        ("`rules`", "rules"),
        ("without *his, her, its*", "extraction_quality:without_possessives"),
        ("without any pronoun", "extraction_quality:without_pronouns"),
    ):
        found = command("evaluate", folder, "--format", "json", "--extractor", extractor)["mean"]["all"]
        shares = (shown(found["strict_precision"]), f"{found['strict_f1']:.4f}".removeprefix("0"))
        lines.append(" | ".join((f"| {name}", str(found["found"]), str(found["right"]), *shares)) + " |")
    return lines


def without_possessives() -> RulesExtractor:
    """The rules, which read no possessive pronoun: an extractor for this process alone."""
    for word in references.POSSESSIVES:
        references.PRONOUNS.pop(word, None)
    return RulesExtractor()


def without_pronouns() -> RulesExtractor:
    """The rules, which read no pronoun: an extractor for this process alone."""
    references.PRONOUNS.clear()
    return RulesExtractor()


def main() -> None:
    folders = sorted(each for each in Path(sys.argv[1]).iterdir() if each.is_dir())
    with tempfile.TemporaryDirectory() as models:
        print(*extractors(folders, Path(models)), "", *curve(folders, Path(models)), sep="\n", flush=True)
        if len(sys.argv) > 2:
            print("", *long_texts(Path(sys.argv[2]), Path(models)), "", *pronouns(Path(sys.argv[2])), sep="\n", flush=True)


if __name__ == "__main__":
    main()
