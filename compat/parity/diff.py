"""What differs between two sides: named, keyed, and each in its risk. Rules are explicit, and say who answers for them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import pandas as pd

from compat.errors import InvalidInputError, Problem
from compat.parity.frames import KEYS, Side

Kind = Literal["missing", "extra", "changed", "reordered", "duplicate"]
Risk = Literal["R1", "R2", "R3", "R4", "R7"]
RISKS: Mapping[Risk, str] = {
    "R1": "failure policy and outcomes: what became of each document, and the graph",
    "R2": "retries: attempts and their owner",
    "R3": "status and rows as old readers see them",
    "R4": "what another process finds with nothing but the batch id",
    "R7": "events: their order, and the terminal one",
}

# The risk of a difference by frame, and of single columns that belong to another one.
_RISK_OF_FRAME: Mapping[str, Risk] = {
    "batch": "R1",
    "documents": "R1",
    "entities": "R1",
    "relations": "R1",
    "events": "R7",
    "batch_rows": "R3",
    "document_rows": "R3",
    "activity_rows": "R3",
    "mention_rows": "R3",
    "lookup": "R4",
}
_RISK_OF_COLUMN: Mapping[tuple[str, str], Risk] = {
    ("batch", "terminal_event"): "R7",
    ("batch", "state"): "R3",
    ("batch", "state_payload"): "R3",
    ("documents", "attempts"): "R2",
    ("documents", "counted_attempts"): "R2",
    ("documents", "owner"): "R2",
    ("document_rows", "retry_count"): "R2",
    ("activity_rows", "attempt"): "R2",
}


@dataclass(frozen=True)
class Tolerance:
    """How far two numbers of a column may be apart and still be equal; ``absolute`` is 0 for every column without one."""

    frame: str
    column: str
    absolute: float


@dataclass(frozen=True)
class Ignore:
    """A column that is not compared until a day. After it the rule counts no more, and the report says so."""

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
        return tuple(rule for rule in self.ignores if rule.expires < today)


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


def compare(legacy: Side, engine: Side, rules: Rules, today: date) -> list[Difference]:
    """All that differs, frame by frame in the order of `KEYS`. Rows are found by key, never by position."""
    return [
        difference for name in KEYS for difference in _compare_frame(name, legacy.frames[name], engine.frames[name], rules, today)
    ]


def risk_of(frame: str, column: str | None) -> Risk:
    """The one table of risks, asked."""
    return _RISK_OF_COLUMN.get((frame, column or ""), _RISK_OF_FRAME[frame])


def _compare_frame(name: str, legacy: pd.DataFrame, engine: pd.DataFrame, rules: Rules, today: date) -> Iterator[Difference]:
    keys = list(KEYS[name])
    # Which of two rows of one key is meant nobody can say, so they are found and not compared.
    twice = {"legacy": _repeated(legacy, keys), "engine": _repeated(engine, keys)}
    for key in sorted(twice["legacy"].keys() | twice["engine"].keys()):
        shown = [f"{twice[side][key]} rows of this key" if key in twice[side] else None for side in ("legacy", "engine")]
        yield Difference(risk_of(name, None), "duplicate", name, key, None, *shown)
    repeated = twice["legacy"].keys() | twice["engine"].keys()
    sides = {"legacy": _without(legacy, keys, repeated), "engine": _without(engine, keys, repeated)}
    reordered = set()
    if name == "events":
        reordered = _reordered(sides["legacy"], sides["engine"])
        for document_id in sorted(reordered):
            yield Difference("R7", "reordered", name, (document_id,), "event", *_orders(document_id, sides))
    both = sides["legacy"].merge(sides["engine"], on=keys, how="outer", suffixes=(" legacy", " engine"), indicator=True)
    ignored = {rule.column for rule in rules.ignores if rule.frame == name and rule.expires >= today}
    close = {rule.column: rule.absolute for rule in rules.tolerances if rule.frame == name}
    columns = [c for c in dict.fromkeys([*legacy.columns, *engine.columns]) if c not in keys and c not in ignored]
    rows: list[dict[str, Any]] = both.to_dict("records")  # type: ignore[assignment]
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
                one, other = _value(row, column, "legacy"), _value(row, column, "engine")
                if not _equal(one, other, close.get(column, 0.0)):
                    yield Difference(risk_of(name, column), "changed", name, key, column, _shown(one), _shown(other))


def _repeated(frame: pd.DataFrame, keys: Sequence[str]) -> dict[tuple[str, ...], int]:
    """Keys that more than one row has, and how many have it."""
    times = Counter(_key(key) for key in frame[list(keys)].itertuples(index=False))
    return {key: count for key, count in times.items() if count > 1}


def _without(frame: pd.DataFrame, keys: Sequence[str], left_out: Set[tuple[str, ...]]) -> pd.DataFrame:
    if not left_out:
        return frame
    return frame[[_key(key) not in left_out for key in frame[list(keys)].itertuples(index=False)]]


def _reordered(legacy: pd.DataFrame, engine: pd.DataFrame) -> set[str]:
    """Documents whose events are the same ones in another order."""
    one, other = _sequences(legacy), _sequences(engine)
    return {
        document_id
        for document_id in one.keys() & other.keys()
        if one[document_id] != other[document_id] and sorted(one[document_id]) == sorted(other[document_id])
    }


def _sequences(frame: pd.DataFrame) -> dict[str, list[str]]:
    if not len(frame):
        return {}
    return {str(name): list(group.sort_values("place")["payload"]) for name, group in frame.groupby("document_id", sort=False)}


def _orders(document_id: str, sides: Mapping[str, pd.DataFrame]) -> tuple[str, str]:
    def order(frame: pd.DataFrame) -> str:
        return " > ".join(frame[frame["document_id"] == document_id].sort_values("place")["event"])

    return order(sides["legacy"]), order(sides["engine"])


def _key(values: Any) -> tuple[str, ...]:
    return tuple(str(value) for value in values)


def _value(row: Mapping[str, Any], column: str, side: str) -> Any:
    # A column that only one side has keeps its name in a merge.
    return row.get(f"{column} {side}", row.get(column))


def _values(row: Mapping[str, Any], columns: Sequence[str], side: str) -> dict[str, Any]:
    return {column: _value(row, column, side) for column in columns if not _is_none(_value(row, column, side))}


def _is_none(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def _equal(one: Any, other: Any, absolute: float) -> bool:
    if _is_none(one) or _is_none(other):
        return _is_none(one) and _is_none(other)
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (one, other))
    if numbers and absolute:
        return bool(abs(one - other) <= absolute)
    return bool(one == other)


def _shown(value: Any, most: int = 200) -> str | None:
    if _is_none(value):
        return None
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= most else text[: most - 1] + "…"
