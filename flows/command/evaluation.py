"""The commands that learn from triples that people wrote down, and that measure an extractor by them."""

import html
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import typer
from rich.table import Table

from compat.contracts import PipelineConfig
from compat.errors import InvalidInputError, Problem
from compat.settings import Settings, settings_of_this_call
from flows.command.files import check_file, writing
from flows.command.terminal import Format, check_format, note, plain, print_json, show
from flows.sources import ontologies, readers
from flows.sources.documents import Documents
from flows.sources.places import address_of
from flows.sources.triples import Row, read_rows, unknown_relations

_COLUMNS = {
    "documents": "rows",
    "official_f1": "official F1",
    "considered_precision": "considered precision",
    "strict_f1": "strict F1",
    "strict_precision": "precision",
    "strict_recall": "recall",
    "conformance": "conforms",
    "invented_subjects": "invented sub",
    "invented_objects": "invented obj",
    "type_precision": "types right",
}


@dataclass(frozen=True)
class Evaluated:
    """What was measured of one source: on all of its documents, and on those whose text the training rows don't have.

    ``seconds`` is the time that the extractor's calls took on one thread's CPU, ``sentences`` how many sentences they read.
    """

    name: str
    all: Any
    clean: Any
    relations: Sequence[Any]
    sentences: int
    seconds: float

    @property
    def speed(self) -> float:
        """Sentences a second."""
        return self.sentences / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        relations = [
            {
                "relation": each.relation,
                "expected": each.expected,
                "found": each.found,
                "considered": each.considered,
                "right": each.right,
                "considered_precision": each.considered_precision,
                "f1": each.f1,
            }
            for each in self.relations
        ]
        variants = {"all": self.all.to_dict(), "clean": self.clean.to_dict()}
        return {"source": self.name, **variants, "relations": relations, "sentencesPerSecond": self.speed}


def evaluate(
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE…", help="Sources of documents, as run takes them; several give the mean too.")
    ],
    expected: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="JSON lines {documentId, triples}, or {text, triples}, whose texts then are the documents; "
            "a plain name is also looked for in each source.",
        ),
    ] = "expected.jsonl",
    train_rows: Annotated[
        str,
        typer.Option(metavar="FILE", help="JSON lines {text, triples}: documents with one of these texts are left out in clean."),
    ] = "",
    ontology: Annotated[str, typer.Option(metavar="FILE", help="The ontology's file; by default the one in the source.")] = "",
    extractor: Annotated[str | None, typer.Option(metavar="NAME", help="As for run; by default KNOWLEDGE_EXTRACTOR.")] = None,
    model: Annotated[
        str | None, typer.Option(metavar="FILE", help="The model of linear; {source} in it stands for the source's folder.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.svg", help="Also draw a bar for each relation.")] = None,
    format: Format = "table",
) -> None:
    """Compare what an extractor finds with triples that people wrote down; nothing is stored."""
    check_format(format)
    if plot is not None and plot.suffix != ".svg":
        raise InvalidInputError([Problem("--plot", str(plot), "a plot ends in .svg")])
    if plot is not None:
        check_file("--plot", plot)
    results = []
    for source in sources:
        name = Path(source).name or source
        with settings_of_this_call(extractor=extractor, linear_model=model.replace("{source}", name) if model else None):
            beside = f"{source}/{{}}"
            files = [
                file if not file or os.path.exists(file) or "://" in file else beside.format(file)
                for file in (expected, train_rows)
            ]
            results.append(_evaluate(name, source, ontology, *files))
    if plot is not None:
        with writing("--plot", plot):
            plot.write_text(drawn(results), encoding="utf-8")
        note(f"a bar for each relation is in {plot}")
    if format == "json":
        rows = [each.to_dict() for each in results]
        print_json({"sources": rows, "mean": {kind: _mean([row[kind] for row in rows]) for kind in ("all", "clean")}})
    else:
        _print(results)


def _evaluate(name: str, source: str, ontology_file: str, expected: str, train_rows: str) -> Evaluated:
    """Run the extractor over a source, one document after the other."""
    from tasks.extraction import evaluation, load_extractor, parse_ontology
    from tasks.extraction.chunking import split_sentences

    documents = readers.load(source, ontology_file)
    settings = Settings.load()
    ontologies.check(documents, settings.extractor)
    ontology = parse_ontology(documents.ontology_content)
    rows = read_rows("--expected", expected, "documentId", "text")
    texts = dict(_texts(documents, rows))
    wanted: dict[str, frozenset[evaluation.Triple]] = {}
    for row in rows:
        wanted[_key(row)] = wanted.get(_key(row), frozenset()) | evaluation.expected_of(row["triples"])
    classes = evaluation.classes_of((triple for each in wanted.values() for triple in each), ontology)
    known = {" ".join(row["text"].split()) for row in read_rows("--train-rows", train_rows, "text")} if train_rows else set()
    extractor = load_extractor(settings.extractor, settings)
    scored, without, sentences, seconds = [], 0, 0, 0.0
    for document_id, text in texts.items():
        if document_id not in wanted:
            without += 1
            continue
        config = PipelineConfig(document_id=document_id, organization_id="evaluation", ontology_id=documents.ontology_id)
        started = time.thread_time()
        graph = extractor.run(text, documents.ontology_content, config).graph
        seconds += time.thread_time() - started
        sentences += len(split_sentences(text))
        facts, types = evaluation.facts_of(graph, text, ontology), evaluation.types_of(graph, classes, ontology)
        scored.append(evaluation.Scored(facts, wanted[document_id], " ".join(text.split()) in known, types))
    if not scored:
        advice = f"no documentId in it is one of {source}'s; name the file that belongs to the source"
        raise InvalidInputError([Problem("--expected", expected, advice)])
    if without:
        note(f"{name}: {without} documents without expected triples are left out")
    clean = [each for each in scored if not each.is_known]
    if len(clean) < len(scored):
        note(f"{name}: {len(scored) - len(clean)} of {len(scored)} texts stand in the training rows; clean leaves them out")
    relations = evaluation.measure_relations(clean, ontology)
    return Evaluated(name, evaluation.measure(scored), evaluation.measure(clean), relations, sentences, seconds)


def _texts(documents: Documents, rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
    """Yield ids and texts: those of the source, or of the rows where these have texts and no ids."""
    if all("documentId" not in row for row in rows):
        yield from ((_key(row), row["text"]) for row in rows)
    else:
        yield from ((each.document_id, each.text) for each in documents)


def _key(row: Row) -> str:
    return str(row["documentId"] if "documentId" in row else row["text"])


def _mean(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        key: sum(row[key] for row in rows) if isinstance(rows[0][key], int) else mean(row[key] for row in rows) for key in rows[0]
    }


def _print(results: Sequence[Evaluated]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("source", "variant"):
        table.add_column(heading)
    for heading in (*_COLUMNS.values(), "sentences/s"):
        table.add_column(heading, justify="right")
    named = [(each.name, {"clean": each.clean.to_dict(), "all": each.all.to_dict()}, each.speed) for each in results]
    if len(results) > 1:
        both = {kind: _mean([row[1][kind] for row in named]) for kind in ("clean", "all")}
        named.append(("mean", both, mean(row[2] for row in named)))
    for name, variants, speed in named:
        for kind, row in variants.items():
            cells = [f"{row[key]}" if isinstance(row[key], int) else f"{row[key]:.3f}" for key in _COLUMNS]
            table.add_row(*plain(name, kind, *cells, f"{speed:.0f}"))
    show(table)
    relations = Table(box=None, pad_edge=False)
    for heading in ("source", "relation"):
        relations.add_column(heading)
    for heading in ("expected", "found", "considered", "right", "considered precision", "F1"):
        relations.add_column(heading, justify="right")
    for result in results:
        for each in result.relations:
            counts = (each.expected, each.found, each.considered, each.right)
            precision = f"{each.considered_precision:.3f}" if each.considered else ""
            relations.add_row(*plain(result.name, each.relation, *map(str, counts), precision, f"{each.f1:.3f}"))
    show(relations)


def drawn(results: Sequence[Evaluated]) -> str:
    """Return a picture: for each relation a bar of its strict F1 on clean documents, with its counts beside it."""
    lines, y = [], 30
    for result in results:
        lines.append(f'<text x="8" y="{y}" font-weight="bold">{html.escape(result.name)}</text>')
        for each in result.relations:
            y += 20
            label = html.escape(each.relation)
            lines.append(f'<text x="290" y="{y}" text-anchor="end">{label}</text>')
            lines.append(f'<rect x="300" y="{y - 12}" width="{each.f1 * 400:.1f}" height="14" fill="#3b6ea5"/>')
            counts = f"{each.f1:.2f} ({each.right} right, {each.found} found, {each.expected} expected)"
            lines.append(f'<text x="{306 + each.f1 * 400:.1f}" y="{y}" fill="#555">{counts}</text>')
        y += 34
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="1000" height="{y}" font-family="sans-serif" font-size="13">'
    return "\n".join((head, '<rect width="100%" height="100%" fill="white"/>', *lines, "</svg>")) + "\n"


def train(
    ontology: Annotated[str, typer.Option(metavar="FILE", help="The ontology; the model is for this text of it alone.")],
    rows: Annotated[list[str], typer.Option(metavar="FILE", help="JSON lines {text, triples}; give it again for further files.")],
    output: Annotated[Path, typer.Option(metavar="FILE.npz", help="Where the model goes.")],
) -> None:
    """Train a model of the linear extractor on texts whose triples people wrote down (extra train)."""
    if find_spec("sklearn") is None:
        advice = "training needs scikit-learn; install knowledge-batch[train] (running a model doesn't need it)"
        raise InvalidInputError([Problem("train", "scikit-learn", advice)])
    check_file("--output", output)
    content = ontologies.named(address_of("--ontology", ontology)).content
    texts = [row for file in rows for row in read_rows("--rows", file, "text")]
    from tasks.extraction.linear import training
    from tasks.extraction.ontology import parse_ontology

    unknown = unknown_relations(texts, {each.label for each in parse_ontology(content).properties})
    if unknown:
        note(f"relations that are no label of the ontology's properties are not learned: {', '.join(map(repr, unknown[:10]))}")
    model = training.train(content, texts)
    with writing("--output", output):
        model.write(output)
    learned = f"{len(model.relations)} relations from {len(texts)} texts"
    note(f"{output}: {learned}, {output.stat().st_size / 2**20:.1f} MiB; use it with --extractor linear --model {output}")
