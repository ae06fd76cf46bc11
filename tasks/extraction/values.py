"""Dates, years and numbers in a text, as the literals that XSD has for them."""

import re
from dataclasses import dataclass
from datetime import date
from typing import Literal

from rdflib import RDFS, XSD

from tasks.extraction.ontology import OntologyProperty
from tasks.extraction.sentences import Sentence

MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_MONTH = "|".join(month.title() for month in MONTHS)
# [0-9], since \d also takes digits of other scripts, which XSD doesn't.
_DATES = re.compile(
    rf"\b(?:(?P<d1>[0-9]{{1,2}})(?:st|nd|rd|th)?\s(?:of\s)?(?P<m1>{_MONTH}),?\s(?P<y1>[0-9]{{4}})"
    rf"|(?P<m2>{_MONTH})\s(?P<d2>[0-9]{{1,2}})(?:st|nd|rd|th)?,\s(?P<y2>[0-9]{{4}})"
    r"|(?P<y3>[0-9]{4})-(?P<m3>[01][0-9])-(?P<d3>[0-3][0-9])"
    rf"|(?P<m4>{_MONTH}),?\s(?P<y4>[0-9]{{4}})"
    r"|(?P<y5>1[0-9]{3}|20[0-9]{2})(?![0-9.,][0-9]|\s?%))\b"
)
_NUMBERS = re.compile(r"(?<![\w.,-])[+-]?[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?(?![\w-]|[.,][0-9])")


@dataclass(frozen=True, slots=True)
class Value:
    """A literal in a text. ``literal`` is its XSD form of type ``datatype``; ``text == document[start:end]``."""

    kind: Literal["date", "number"]
    text: str
    start: int
    end: int
    literal: str
    datatype: str


def find_values(sentence: Sentence) -> tuple[Value, ...]:
    """Dates, years and numbers of a sentence, in order; no two overlap."""
    found = []
    taken: list[tuple[int, int]] = []
    if not any(character.isdigit() for character in sentence.text):
        return ()
    for match in _DATES.finditer(sentence.text):
        literal, datatype = _date(match)
        if literal:
            found.append(_value("date", sentence, match.start(), match.end(), literal, datatype))
            taken.append(match.span())
    for match in _NUMBERS.finditer(sentence.text):
        if not any(start < match.end() and match.start() < end for start, end in taken):
            number = match.group().replace(",", "").lstrip("+")
            datatype = str(XSD.decimal if "." in number else XSD.integer)
            found.append(_value("number", sentence, match.start(), match.end(), number, datatype))
    return tuple(sorted(found, key=lambda value: value.start))


def _value(kind: Literal["date", "number"], sentence: Sentence, start: int, end: int, literal: str, datatype: str) -> Value:
    return Value(kind, sentence.text[start:end], sentence.start + start, sentence.start + end, literal, datatype)


def _date(match: re.Match[str]) -> tuple[str, str]:
    """Return the XSD form and type of a date; empty if there is no such day."""
    part = {name[0]: text for name, text in match.groupdict().items() if text}
    month = int(part["m"]) if part.get("m", "").isdigit() else MONTHS.index(part["m"].lower()) + 1 if "m" in part else 0
    if "d" in part:
        try:
            return date(int(part["y"]), month, int(part["d"])).isoformat(), str(XSD.date)
        except ValueError:
            return "", ""
    return (f"{part['y']}-{month:02d}", str(XSD.gYearMonth)) if month else (part["y"], str(XSD.gYear))


def literal_as(value: Value, datatype: str | None) -> tuple[str, str] | None:
    """Return a value as a literal's text and type, or None if it can't be of the type that the property requires."""
    if datatype is None or datatype == value.datatype:
        return value.literal, value.datatype
    if value.kind == "date":
        # A day has a year, but a year has no day.
        length = {str(XSD.gYear): 4, str(XSD.gYearMonth): 7}.get(datatype)
        return (value.literal[:length], datatype) if length and length < len(value.literal) else None
    whole = value.datatype == str(XSD.integer)
    return (value.literal, datatype) if whole or datatype in (str(XSD.decimal), str(XSD.double), str(XSD.float)) else None


def object_as(property: OntologyProperty, name: str, value: Value | None) -> tuple[tuple[str, str] | None, bool]:
    """Return the literal that a name or value is as a property's object, None for a thing, and whether the range allows it."""
    datatypes = [each for each in property.ranges if each.startswith((str(XSD), str(RDFS.Literal)))]
    if property.kind != "datatype" and len(datatypes) < len(property.ranges):
        return None, value is None or not datatypes
    if value is not None:
        for datatype in datatypes or [str(RDFS.Literal)]:
            literal = literal_as(value, None if datatype == str(RDFS.Literal) else datatype)
            if literal is not None:
                return literal, True
    plain = not datatypes or str(XSD.string) in datatypes or str(RDFS.Literal) in datatypes
    return (name, str(XSD.string)), plain


def date_of(text: str) -> str | None:
    """Return the XSD form of a text that is a date and nothing else, or None."""
    match = _DATES.fullmatch(text.strip())
    return (_date(match)[0] or None) if match else None
