"""The command that trains a model of the linear extractor."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from compat.errors import InvalidInputError, Problem
from flows.command.files import check_file, writing
from flows.command.terminal import note
from flows.sources import ontologies
from flows.sources.places import address_of
from flows.sources.triples import read_rows, unknown_relations


def train(
    ontology: Annotated[str, typer.Option(metavar="FILE", help="The ontology; the model is for this text of it alone.")],
    rows: Annotated[list[str], typer.Option(metavar="FILE", help="JSON lines {text, triples}; give it again for further files.")],
    output: Annotated[Path, typer.Option(metavar="FILE.npz", help="Where the model goes.")],
    coreference: Annotated[
        bool, typer.Option("--coreference", help="Let he, she and it stand for the subject of a text's first sentence.")
    ] = False,
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
    model = training.train(content, texts, coreference)
    with writing("--output", output):
        size = model.write(output)
    learned = f"{len(model.relations)} relations from {len(texts)} texts"
    note(f"{output}: {learned}, {size / 2**20:.1f} MiB; use it with --extractor linear --model {output}")
