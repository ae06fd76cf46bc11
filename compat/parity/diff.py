"""What differs between two sides: named, keyed, and each in its risk. Rules are explicit, and say who answers for them."""

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Literal

from compat.errors import InvalidInputError, Problem
from compat.parity.frames import KEYS, Frames
from compat.parity.risks import RISKS, Risk, risk_of

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["missing", "extra", "changed", "reordered", "duplicate"]
# Characters of a value in a difference.
SHOWN = 200
# The number of a row among those of one key.
_NTH = "row of this key"


@dataclass(frozen=True)
class Tolerance:
    """How far two numbers of a column may be apart and still be equal; ``absolute`` is 0 for every column without one."""

    frame: str
    column: str
    absolute: float


@dataclass(frozen=True)
class Ignore:
    """A column that is not compared until a date. After that date the rule has expired, and the report says so."""

    frame: str
    column: str
    reason: str
    owner: str
    expires: date

    def __post_init__(self) -> None:
        for name in ("reason", "owner"):
            if not getattr(self, name).strip():
                raise InvalidInputError([Problem(f"ignore rule {self.frame}.{self.column} {name}", "", "say it; rules need it")])


@dataclass(frozen=True)
class Rules:
    """The rules of a comparison."""

    tolerances: tuple[Tolerance, ...] = ()
    ignores: tuple[Ignore, ...] = ()

    def expired(self, today: date) -> tuple[Ignore, ...]:
        """Return the rules whose date has passed."""
        return tuple(rule for rule in self.ignores if rule.expires < today)


# What the two runtimes are approved to do differently: nothing. HANDOFF_P4.md lists each rule that is added here.
APPROVED = Rules()


@dataclass(frozen=True)
class Difference:
    """One difference: where it is, what legacy has and what the engine has."""

    risk: Risk
    kind: Kind
    frame: str
    key: tuple[str, ...]
    column: str | None
    legacy: str | None
    engine: str | None

    @property
    def document_id(self) -> str | None:
        """The document that it is about, where it is about one."""
        return (self.key[0] or None) if KEYS[self.frame][0] == "document_id" else None

    @property
    def where(self) -> str:
        """``frame.column``; rows that only one side has stand under their kind."""
        return f"{self.frame}.{self.column or self.kind}"


# What differences are counted by: risk, ``frame.column``, and the document where there is one.
Group = tuple[Risk, str, str | None]
SAMPLES = 20


@dataclass(frozen=True)
class Findings:
    """The differences of a whole batch: all counted, the first of each place kept to be shown.

    ``rows`` are those of the side that has more, ``documents`` how many legacy has, ``known`` those of them that were asked for
    by name; ``retries`` are the ``attempts`` that were not a document's first.
    """

    counts: Counter[Group] = field(default_factory=Counter)
    samples: dict[tuple[Risk, str], list[Difference]] = field(default_factory=dict)
    rows: Counter[str] = field(default_factory=Counter)
    documents: int = 0
    known: set[str] = field(default_factory=set)
    attempts: Counter[str] = field(default_factory=Counter)
    retries: Counter[str] = field(default_factory=Counter)

    def add(self, difference: Difference) -> None:
        """Count a difference, and keep it as a sample while there are few."""
        self.counts[difference.risk, difference.where, difference.document_id] += 1
        kept = self.samples.setdefault((difference.risk, difference.where), [])
        if len(kept) < SAMPLES:
            kept.append(difference)

    def only(self, kept: Callable[[Risk, str, str | None], bool]) -> "Findings":
        """Without the groups that are not kept."""
        counts = Counter({group: count for group, count in self.counts.items() if kept(*group)})
        samples = {place: [each for each in found if kept(*place, each.document_id)] for place, found in self.samples.items()}
        return replace(self, counts=counts, samples={place: found for place, found in samples.items() if found})

    @property
    def total(self) -> int:
        """How many differences were found."""
        return self.counts.total()

    def by_risk(self) -> dict[Risk, int]:
        """Return how many differences each risk has; 0 for those without."""
        return {risk: sum(count for group, count in self.counts.items() if group[0] == risk) for risk in RISKS}

    def by_document(self) -> dict[str, int]:
        """Return the number of differences of each document that has any."""
        found: Counter[str] = Counter()
        for (_, _, document_id), count in self.counts.items():
            if document_id is not None:
                found[document_id] += count
        return dict(sorted(found.items()))

    def by_frame(self) -> Counter[str]:
        """Return how many differences each frame has."""
        found: Counter[str] = Counter()
        for (_, where, _), count in self.counts.items():
            found[where.partition(".")[0]] += count
        return found

    def first(self, risk: Risk) -> tuple[Difference, ...]:
        """Up to 20 differences of a risk, those of the frames that come first in `KEYS` before others."""
        found = [each for (of, _), kept in self.samples.items() if of == risk for each in kept]
        return tuple(sorted(found, key=lambda each: list(KEYS).index(each.frame))[:SAMPLES])


def compare_pairs(
    pairs: Iterable[tuple[Frames, Frames]], rules: Rules, today: date, known: Container[str] = frozenset()
) -> Findings:
    """Compare both sides of a batch, block by block. ``known`` are documents of which it matters whether the batch has them."""
    found = Findings()
    documents, rows = 0, {"legacy": Counter[str](), "engine": Counter[str]()}
    for legacy, engine in pairs:
        documents += len(legacy["requests"])
        found.known.update(name for name in map(str, legacy["requests"]["document_id"]) if name in known)
        for name, side in (("legacy", legacy), ("engine", engine)):
            rows[name].update({frame: len(side[frame]) for frame in KEYS})
            numbers = side["activity_rows"]["attempt"]
            found.attempts[name] += len(numbers)
            found.retries[name] += sum(1 for number in numbers if number > 1)
        for difference in compare(legacy, engine, rules, today):
            found.add(difference)
    # Of either side as a whole, so that it doesn't matter where blocks end.
    found.rows.update({name: max(side[name] for side in rows.values()) for name in KEYS})
    return replace(found, documents=documents)


def compare(legacy: Frames, engine: Frames, rules: Rules, today: date) -> list[Difference]:
    """Return all that differs, frame by frame in the order of `KEYS`, and in each by the order of the request.

    Rows are found by key, never by position.
    """
    requested = dict.fromkeys([*legacy["requests"]["document_id"], *engine["requests"]["document_id"]])
    order = {document_id: place for place, document_id in enumerate(requested)}
    found: list[Difference] = []
    for name in KEYS:
        differences = _compare_frame(name, legacy[name], engine[name], rules, today)
        found += sorted(differences, key=lambda each: order.get(each.key[0], len(order)))
    return found


def _compare_frame(name: str, legacy: "pd.DataFrame", engine: "pd.DataFrame", rules: Rules, today: date) -> Iterator[Difference]:
    if _is_same(legacy, engine):
        return
    keys = list(KEYS[name])
    # Which of two rows of one key is meant nobody can say. As many on either side are compared in an order that only their
    # values give; others are found, and not compared.
    twice = {"legacy": _repeated(legacy, keys), "engine": _repeated(engine, keys)}
    repeated = twice["legacy"].keys() | twice["engine"].keys()
    uneven = {key for key in repeated if twice["legacy"].get(key) != twice["engine"].get(key)}
    for key in sorted(uneven):
        shown = [f"{twice[side][key]} rows of this key" if key in twice[side] else None for side in ("legacy", "engine")]
        yield Difference(risk_of(name, None), "duplicate", name, key, None, *shown)
    # Those of the side that has more come first, as on each side those of the fullest record do.
    more, less = sorted((legacy.columns, engine.columns), key=len, reverse=True)
    columns = [column for column in dict.fromkeys([*more, *less]) if column not in keys]
    sides = {
        side: _numbered(_without(frame, keys, uneven), keys, columns, repeated)
        for side, frame in (("legacy", legacy), ("engine", engine))
    }
    reordered = set()
    if name == "events":
        reordered = _reordered(sides["legacy"], sides["engine"])
        for document_id in sorted(reordered):
            yield Difference("R7", "reordered", name, (document_id,), "event", *_orders(document_id, sides))
    ignored = {rule.column for rule in rules.ignores if rule.frame == name and rule.expires >= today}
    close = {rule.column: rule.absolute for rule in rules.tolerances if rule.frame == name}
    columns = [column for column in columns if column not in ignored]
    found_by = [*keys, _NTH]
    # Named by side before they are merged: a column that only one side has would keep its name, and seem to be both's.
    one, other = (_of_side(sides[side], found_by, side) for side in ("legacy", "engine"))
    rows: list[dict[str, Any]] = one.merge(other, on=found_by, how="outer", indicator=True).to_dict("records")  # type: ignore[assignment]
    for row in rows:
        key = _key(row[each] for each in keys)
        if name == "events" and key[0] in reordered:
            continue
        if row["_merge"] == "left_only":
            yield Difference(risk_of(name, None), "missing", name, key, None, _shown(_values(row, columns, "legacy")), None)
        elif row["_merge"] == "right_only":
            yield Difference(risk_of(name, None), "extra", name, key, None, None, _shown(_values(row, columns, "engine")))
        else:
            for column in columns:
                was, now = row.get(f"legacy {column}"), row.get(f"engine {column}")
                if not _equal(was, now, close.get(column, 0.0)):
                    yield Difference(risk_of(name, column), "changed", name, key, column, *_shown_apart(was, now))


def _is_same(one: "pd.DataFrame", other: "pd.DataFrame") -> bool:
    """Return whether both sides have equal rows in the same order, as most frames have: then there is nothing to look for."""
    return (
        len(one) == len(other)
        and list(one.columns) == list(other.columns)
        and all(
            _equal(was, now, 0.0)
            for column in one.columns
            for was, now in zip(one[column].tolist(), other[column].tolist(), strict=True)
        )
    )


def _repeated(frame: "pd.DataFrame", keys: Sequence[str]) -> dict[tuple[str, ...], int]:
    """Keys that more than one row has, and how many have it."""
    times = Counter(_key(key) for key in frame[list(keys)].itertuples(index=False))
    return {key: count for key, count in times.items() if count > 1}


def _numbered(
    frame: "pd.DataFrame", keys: Sequence[str], columns: Sequence[str], repeated: Set[tuple[str, ...]]
) -> "pd.DataFrame":
    """Return the rows with their number among those of one key, 0 for nearly all of them."""
    if not repeated:
        return frame.assign(**{_NTH: 0})
    rows: list[dict[str, Any]] = frame.to_dict("records")  # type: ignore[assignment]
    order = sorted(range(len(rows)), key=lambda at: repr([rows[at].get(column) for column in columns]))
    seen: Counter[tuple[str, ...]] = Counter()
    numbers = [0] * len(rows)
    for at in order:
        key = _key(rows[at][each] for each in keys)
        numbers[at] = seen[key]
        seen[key] += 1
    return frame.assign(**{_NTH: numbers})


def _without(frame: "pd.DataFrame", keys: Sequence[str], left_out: Set[tuple[str, ...]]) -> "pd.DataFrame":
    if not left_out:
        return frame
    return frame[[_key(key) not in left_out for key in frame[list(keys)].itertuples(index=False)]]


def _reordered(legacy: "pd.DataFrame", engine: "pd.DataFrame") -> set[str]:
    """Return documents whose events are the same ones in another order."""
    one, other = _sequences(legacy), _sequences(engine)
    return {
        document_id
        for document_id in one.keys() & other.keys()
        if one[document_id] != other[document_id] and sorted(one[document_id]) == sorted(other[document_id])
    }


def _sequences(frame: "pd.DataFrame") -> dict[str, list[str]]:
    if not len(frame):
        return {}
    return {str(name): list(group.sort_values("place")["payload"]) for name, group in frame.groupby("document_id", sort=False)}


def _orders(document_id: str, sides: "Mapping[str, pd.DataFrame]") -> tuple[str, str]:
    def order(frame: "pd.DataFrame") -> str:
        return " > ".join(frame[frame["document_id"] == document_id].sort_values("place")["event"])

    return order(sides["legacy"]), order(sides["engine"])


def _key(values: Any) -> tuple[str, ...]:
    return tuple(str(value) for value in values)


def _of_side(frame: "pd.DataFrame", keys: Sequence[str], side: str) -> "pd.DataFrame":
    return frame.rename(columns={name: f"{side} {name}" for name in frame.columns if name not in keys})


def _values(row: Mapping[str, Any], columns: Sequence[str], side: str) -> dict[str, Any]:
    values = {column: row.get(f"{side} {column}") for column in columns}
    return {column: value for column, value in values.items() if not _is_none(value)}


def _is_none(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def _equal(one: Any, other: Any, absolute: float) -> bool:
    if _is_none(one) or _is_none(other):
        return _is_none(one) and _is_none(other)
    if isinstance(one, bool) or isinstance(other, bool):
        # To Python True is 1.
        return one is other
    numbers = all(isinstance(value, int | float) for value in (one, other))
    if numbers and absolute:
        return bool(abs(one - other) <= absolute)
    return bool(one == other)


def _text(value: Any) -> str | None:
    if _is_none(value):
        return None
    return value if isinstance(value, str) else repr(value)


def _shown(value: Any, start: int = 0) -> str | None:
    """Return a value as text; of a long one, the part around ``start``."""
    text = _text(value)
    if text is None or len(text) <= SHOWN:
        return text
    start = max(0, min(start - SHOWN // 4, len(text) - SHOWN + 1))
    ending = "…" if start + SHOWN - 1 < len(text) else ""
    return ("…" if start else "") + text[start : start + SHOWN - 1] + ending


def _shown_apart(one: Any, other: Any) -> tuple[str | None, str | None]:
    """Two values as texts that show where they begin to differ."""
    texts = _text(one) or "", _text(other) or ""
    same = takewhile(lambda both: both[0] == both[1], zip(*texts, strict=False))
    apart = sum(1 for _ in same)
    return _shown(one, apart), _shown(other, apart)
