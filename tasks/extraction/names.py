"""The distinct names of many entities, with what is known of each, in a temporary database: memory doesn't grow with them."""

import json
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np

from compat.contracts import NamedEntity

# How many names are in memory before they are written to the database.
_KEPT = 10_000
_COLUMNS = "id, text, entities, confidence, known"
# Without a name: SQLite keeps it in its page cache, and in a file that it removes by itself once it outgrows that.
_SCHEMA = """
PRAGMA cache_size = -8192; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
CREATE TABLE name (
  id INTEGER PRIMARY KEY, text TEXT, numbers TEXT, entities INTEGER, confidence REAL, known TEXT
)
"""

_NUMBER = re.compile(r"\d+|(?<![\w.])[ivxlcdm]+(?![\w.])", re.IGNORECASE)
_ROMAN = re.compile(r"m*(?:cm|cd|d?c{0,3})(?:xc|xl|l?x{0,3})(?:ix|iv|v?i{0,3})", re.IGNORECASE)
_ROMAN_VALUES = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100, "d": 500, "m": 1000}

Value = str | int | float | bool
Attributes = dict[str, list[Value]]


class Name:
    """All entities of one name, whatever document they stand in. Names are compared trimmed and in lower case: ``text``."""

    __slots__ = ("attributes", "confidence", "entities", "spellings", "text", "types")

    def __init__(self, text: str) -> None:
        self.text = text
        self.entities = 0
        self.confidence = 0.0
        # How many entities are spelled so, and how many have a type as their main one; in order of appearance.
        self.spellings: dict[str, int] = {}
        self.types: dict[str, int] = {}
        self.attributes: Attributes = {}

    def add(self, entity: NamedEntity) -> None:
        """Count one more entity of this name."""
        self.entities += 1
        self.confidence = max(self.confidence, entity.confidence)
        spelling = entity.name.strip()
        self.spellings[spelling] = self.spellings.get(spelling, 0) + 1
        for place, kind in enumerate(entity.types):
            self.types[kind] = self.types.get(kind, 0) + (place == 0)
        if entity.attributes:
            add_values(self.attributes, {key: [value] for key, value in entity.attributes.items()})

    def add_name(self, other: "Name") -> None:
        """Count the entities of another name, which were met later, as this one's."""
        self.entities += other.entities
        self.confidence = max(self.confidence, other.confidence)
        for mine, theirs in ((self.spellings, other.spellings), (self.types, other.types)):
            for key, count in theirs.items():
                mine[key] = mine.get(key, 0) + count
        add_values(self.attributes, other.attributes)

    @classmethod
    def of_row(cls, row: Sequence[Any]) -> "Name":
        """Return the name of a row of the database, without its id."""
        name = cls(row[0])
        name.entities, name.confidence = row[1], row[2]
        name.spellings, name.types, name.attributes = json.loads(row[3])
        return name


def text_of(name: str) -> str:
    """Return a name as names are compared."""
    return name.strip().lower()


def add_values(found: Attributes, more: Attributes) -> None:
    """Add values to those of each attribute, each once."""
    for key, values in more.items():
        kept = found.setdefault(key, [])
        # To Python True is 1.
        there = {(type(value), value) for value in kept}
        kept.extend(value for value in values if (type(value), value) not in there)


def numbers_in(name: str) -> tuple[int, ...]:
    """Return the numbers in a name, in digits or Roman numerals, in ascending order: what tells Apollo 11 from Apollo 12.

    A single letter is a numeral where it is I, V or X in capitals, or the last word; initials ("V. Woolf") are none.
    """
    found = []
    for match in _NUMBER.finditer(name):
        word = match.group()
        if word[0].isdigit():
            found.append(int(word))
        elif _is_roman(word, last=match.end() == len(name.rstrip())):
            found.append(_roman_value(word.lower()))
    return tuple(sorted(found))


def _is_roman(word: str, last: bool) -> bool:
    if not _ROMAN.fullmatch(word) or not set("ivx") & set(word.lower()):
        # DC and CD are no numbers.
        return False
    return len(word) > 1 or word in "IVX" or last


def _roman_value(word: str) -> int:
    values = [_ROMAN_VALUES[letter] for letter in word]
    return sum(-value if value < after else value for value, after in zip(values, [*values[1:], 0], strict=True))


class Names:
    """Names, numbered from 0 on in the order of their first appearance."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.executescript(_SCHEMA)
        self._met: dict[str, Name] = {}
        self._numbers = _Numbers()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def close(self) -> None:
        """Remove the database."""
        self._database.close()

    def read(self, entities: Iterable[NamedEntity]) -> int:
        """Add all of the entities. Returns how many there were."""
        count = 0
        for entity in entities:
            count += 1
            text = text_of(entity.name)
            name = self._met.get(text)
            if name is None:
                if len(self._met) >= _KEPT:
                    self._write()
                name = self._met[text] = Name(text)
            name.add(entity)
        self._write()
        return count

    def _write(self) -> None:
        found = [(name, *self._find(name.text)) for name in self._met.values()]
        new = [name.text for name, _, met in found if met is None]
        self._numbers.add(new, self._size)
        self._database.execute("BEGIN")
        for name, number, met in found:
            if met is not None:
                met.add_name(name)
                name = met
            else:
                number, self._size = self._size, self._size + 1
            known = json.dumps((name.spellings, name.types, name.attributes))
            numbers = json.dumps(numbers_in(next(iter(name.spellings))))
            row = (number, name.text, numbers, name.entities, name.confidence, known)
            self._database.execute("INSERT OR REPLACE INTO name VALUES (?, ?, ?, ?, ?, ?)", row)
        self._database.execute("COMMIT")
        self._met = {}

    def _find(self, text: str) -> tuple[int, Name | None]:
        for number in self._numbers.of(text):
            row = self._database.execute(f"SELECT {_COLUMNS} FROM name WHERE id = ?", (number,)).fetchone()  # noqa: S608
            if row[1] == text:
                return row[0], Name.of_row(row[1:])
        return -1, None

    def find(self, text: str) -> tuple[int, Name] | None:
        """Return the number of a name and what is known of it, or None."""
        number, name = self._find(text)
        return None if name is None else (number, name)

    def all(self) -> Iterator[tuple[int, Name]]:
        """Yield all names with their numbers, in order."""
        for row in self._database.execute(f"SELECT {_COLUMNS} FROM name ORDER BY id"):  # noqa: S608
            yield row[0], Name.of_row(row[1:])

    def some(self, numbers: Sequence[int]) -> Iterator[Name]:
        """Yield the names with these numbers, in the order given."""
        for number in numbers:
            row = self._database.execute(f"SELECT {_COLUMNS} FROM name WHERE id = ?", (number,)).fetchone()  # noqa: S608
            yield Name.of_row(row[1:])

    def comparable(self) -> Iterator[Iterator[tuple[int, str]]]:
        """Yield, one group at a time, the names with their numbers that share a type and have the same numbers in them."""
        rows = self._database.execute(
            "SELECT numbers, types.key, name.id, text FROM name, json_each(name.known, '$[1]') AS types ORDER BY 1, 2, 3"
        )
        for _, group in groupby(rows, key=itemgetter(0, 1)):
            yield ((number, text) for _, _, number, text in group)


class _Numbers:
    """The numbers of names by a hash of their text, in 16 bytes a name.

    An index of the texts themselves outgrows a database's cache, and each new name then reads and writes a page of it.
    """

    def __init__(self) -> None:
        self._hashes = np.empty(0, dtype=np.int64)
        self._numbers = np.empty(0, dtype=np.int64)

    def of(self, text: str) -> list[int]:
        """Return the numbers that the text may have; two texts of one hash are rare."""
        wanted = hash(text)
        place = int(self._hashes.searchsorted(wanted))
        found = []
        while place < len(self._hashes) and self._hashes[place] == wanted:
            found.append(int(self._numbers[place]))
            place += 1
        return found

    def add(self, texts: Sequence[str], first: int) -> None:
        """Give new texts numbers from ``first`` on."""
        hashes = np.fromiter(map(hash, texts), dtype=np.int64, count=len(texts))
        order = hashes.argsort(kind="stable")
        places = self._hashes.searchsorted(hashes[order])
        self._hashes = np.insert(self._hashes, places, hashes[order])
        self._numbers = np.insert(self._numbers, places, order + first)
