"""Rows of triples that people wrote down: what an extractor is trained on, and what its graphs are compared with."""

import json
from collections.abc import Sequence
from typing import Any

from flows.sources.documents import invalid
from flows.sources.places import address_of, bounded, decoded, place_of

Row = dict[str, Any]


def read_rows(option: str, source: str, *keys: str) -> list[Row]:
    """Return the rows of a JSON lines file: ``{key, triples: [{sub, rel, obj}]}``, further keys allowed.

    Args:
        option: How errors name the file's option.
        source: Its path or URL.
        keys: The keys beside ``triples`` of which every row has to have one: ``text``, ``documentId``.

    Raises:
        InvalidInputError: It can't be read, or a line isn't such a row; the error names the line.
    """
    address = address_of(option, source)
    place = place_of(address)
    if not place.exists():
        raise invalid(option, address.shown, "no such file; name a file of JSON lines")
    rows = []
    with place.open() as file, place.readable():
        for number, line in enumerate(bounded(place.label, file), start=1):
            text = decoded(line, place.label, number)
            if text.strip():
                rows.append(_row(f"{option} {place.label} line {number}", text, keys))
    if not rows:
        raise invalid(option, address.shown, f"holds no row; write a line {{{keys[0]}, triples}} for each text")
    return rows


def _row(where: str, line: str, keys: Sequence[str]) -> Row:
    try:
        row: Row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise invalid(where, line, f"isn't JSON ({error}); correct or remove the line") from None
    named = isinstance(row, dict) and any(isinstance(row.get(key), str) for key in keys)
    if not named or not isinstance(row.get("triples"), list):
        raise invalid(where, row, f'write {{"{keys[0]}": "…", "triples": [{{"sub": "…", "rel": "…", "obj": "…"}}]}}')
    for triple in row["triples"]:
        if not isinstance(triple, dict) or not all(isinstance(triple.get(part), str) for part in ("sub", "rel", "obj")):
            raise invalid(where, triple, "a triple has the texts sub, rel (a property's label) and obj; correct it")
    return row


def unknown_relations(rows: Sequence[Row], labels: set[str]) -> list[str]:
    """Return the relations of the rows that are no label of the ontology's properties, sorted."""
    known = {" ".join(each.lower().split()) for each in labels}
    found = {triple["rel"] for row in rows for triple in row["triples"]}
    return sorted(each for each in found if " ".join(each.lower().split()) not in known)
