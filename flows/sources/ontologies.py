"""A source's ontology: which file it is, its text, and what is in it, before anything is claimed."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from compat.errors import OntologyParseError
from flows.sources.documents import Documents, invalid
from flows.sources.places import Address, Place, decoded, place_of

NAME = "ontology"
# Endings of files that are ontologies; JSON could be anything, so it is one by its name alone.
_READ = (".ttl", ".nt", ".trig", ".nq", ".rdf", ".owl", ".xml", ".jsonld")
# Endings of syntaxes that aren't read: the parser names the command that converts them.
_FOREIGN = (".obo", ".owx", ".omn", ".ofn")
_COMPRESSED = ".gz"


@dataclass(frozen=True)
class Found:
    """An ontology's text, how errors name its file, and the file itself where it lies in the source's folder."""

    content: str
    shown: str
    place: Place | None = None


def named(address: Address) -> Found:
    """Return the ontology that the caller names."""
    place = place_of(address)
    if not place.exists():
        raise invalid("ontology", address.shown, "no such file; name the ontology's file")
    return Found(_text(place), address.shown)


def beside(folder: Place, places: Sequence[Place]) -> Found:
    """Return the ontology among a folder's files: ``ontology.<ending>``, or the only file that ends like one."""
    for endings in ((*_READ, ".json"), _FOREIGN):
        there = [place for place in places if _ending(place) in endings]
        called = [place for place in there if place.name.lower().partition(".")[0] == NAME]
        chosen = called or [place for place in there if _ending(place) != ".json"]
        if len(chosen) == 1:
            return Found(_text(chosen[0]), chosen[0].label, chosen[0])
        if chosen:
            names = ", ".join(place.name for place in chosen[:5])
            what = f"has {len(chosen)} files that may be the ontology ({names}{', …' if len(chosen) > 5 else ''})"
            raise invalid("ontology", folder.shown, f"{what}; name it with --ontology FILE")
    known = ", ".join(_READ)
    raise invalid("ontology", folder.shown, f"has no ontology, no file that ends in {known}; name one with --ontology FILE")


def check(documents: Documents, extractor: str) -> str:
    """Return what the documents' ontology offers, in one line.

    Raises InvalidInputError where nothing can be found by it. An extractor of the caller's own may read another format, so
    there it is only said.
    """
    from tasks.extraction.ontology import parse_ontology

    is_foreign = ":" in extractor
    shown = documents.ontology_shown or "the ontology"
    try:
        summary = parse_ontology(documents.ontology_content).summary
    except OntologyParseError as error:
        if is_foreign:
            return f"{shown}: {error.message} (left to {extractor})"
        raise invalid("ontology", shown, error.message) from None
    if summary.usable or is_foreign:
        return f"{shown}: {summary}"
    advice = (
        "declares no class, so no entity could be found by it; declare classes (owl:Class or rdfs:Class), or name another file"
    )
    raise invalid("ontology", shown, f"{advice}; it holds {summary}")


def _ending(place: Place) -> str:
    return place.suffix.removesuffix(_COMPRESSED) if place.suffix.endswith(_COMPRESSED) else place.suffix


def _text(place: Place) -> str:
    content = place.content()
    # An XML file may declare another encoding than UTF-8; what can't be decoded by it is told as what isn't UTF-8.
    declared = re.match(rb"""(?:\xef\xbb\xbf)?\s*<\?xml[^>]*?encoding\s*=\s*["']([\w.-]+)["']""", content)
    encoding = declared[1].decode() if declared else "utf-8"
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    if encoding.lower() not in ("utf-8", "utf8"):
        try:
            return content.decode(encoding)
        except (LookupError, UnicodeDecodeError):
            pass
    return decoded(content, place.label, 1)
