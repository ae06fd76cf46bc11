"""Rows, events and extractions as records that two runs of one batch can be compared by."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from compat.parity.frames import Records

# What two runs of one batch never share: ids of rows, moments, durations. That a moment is set, and that it does not lie
# before the one that it follows or outside of its batch, that an id is of its form and no duration negative, is compared.
_MOMENTS = ("started_at", "completed_at", "ended_at", "extracted_at")
_OWN = ("id", "execution_id", "created_at", "updated_at", "duration_ms", *_MOMENTS)
_UUID4 = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


@dataclass(frozen=True)
class Span:
    """From when to when a batch was worked on; None where that is not known.

    Attributes:
        began: Nothing of the batch happened before.
        ended: Nothing of it happened after.
    """

    began: datetime | None = None
    ended: datetime | None = None

    def breach(self, moments: Mapping[str, datetime | None]) -> str | None:
        """Return which of the moments lie outside."""
        set_ones = {name: moment for name, moment in moments.items() if moment is not None}
        early = [f"{name} before the batch began" for name, at in set_ones.items() if self.began and at < self.began]
        late = [f"{name} after the batch ended" for name, at in set_ones.items() if self.ended and at > self.ended]
        return "; ".join(early + late) or None


def plain(value: Any) -> Any:
    """Return a value that can be compared and shown: JSON for what is nested."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False) if isinstance(value, dict | list | tuple) else value


def inside(value: Any, key: str) -> Any:
    """Return what a JSON object has under a key; None where it has none, or is no object."""
    return value.get(key) if isinstance(value, Mapping) else None


def without(value: Any, *left_out: str) -> Any:
    """Return a JSON object but for some of its keys; what is no object as it is."""
    if not isinstance(value, Mapping):
        return value
    return {name: each for name, each in value.items() if name not in left_out}


def generation(row: Any) -> int:
    """Return the budget under which an attempt was made."""
    found = inside(row.input, "generation")
    return found if isinstance(found, int) else 0


def id_breach(value: Any, kind: str) -> str | None:
    """Return what is wrong with an id that we made (CONTRACT 1)."""
    return None if re.fullmatch(f"{kind}__{_UUID4}", str(value)) else f"not {kind}__ and a UUID of version 4"


def record(row: Any, span: Span, kind: str | None = None, **keys: Any) -> dict[str, Any]:
    """Return a row's values but for those that are its own, under the keys by which it is found on the other side.

    ``kind`` is the form of its id, where we made it.
    """
    values = dict(row._mapping)
    return {
        **keys,
        **{name: plain(value) for name, value in values.items() if name not in _OWN},
        **moments(values, span),
        "id_breach": id_breach(values["id"], kind) if kind else None,
    }


def moments(values: Mapping[str, Any], span: Span) -> dict[str, Any]:
    """Return which moments are set, and whether they lie where they may."""
    there = {name: values[name] for name in _MOMENTS if name in values}
    ends = [there.get(name) for name in ("completed_at", "ended_at") if there.get(name)]
    begun = there.get("started_at")
    made = {name: values[name] for name in ("created_at",) if name in values}
    return {
        **{f"has_{name}": moment is not None for name, moment in there.items()},
        "ends_after_it_starts": all(begun is None or begun <= end for end in ends),
        "moments_breach": span.breach({**made, **there}),
    }


def timestamp(payload: Any) -> datetime | None:
    """Return when an event says that it happened; None where it doesn't, or not in a way that can be read."""
    text = inside(payload, "timestamp")
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


def event(payload: Any, batch_id: str) -> dict[str, Any]:
    """Return an event's columns: its payload but for its batch and its moment, and whether these are as they must be."""
    return {
        "event": inside(payload, "_tag"),
        "payload": plain(without(payload, "timestamp", "batchId")),
        "is_of_this_batch": inside(payload, "batchId") == batch_id,
        "has_timestamp": timestamp(payload) is not None,
    }


def steps(document_id: str, events: Sequence[Mapping[str, Any]]) -> Records:
    """Return a document's events, or the batch's own, by their place."""
    return [{"document_id": document_id, "place": place, **each} for place, each in enumerate(events)]


def outcome(row: Any, span: Span) -> dict[str, Any]:
    """Return what became of a document."""
    failed = row.outcome == "failed"
    error = ("error_class", "error_message", "error_terminal", "error_args")
    return {
        "document_id": row.document_id,
        "position": row.position,
        "outcome": row.outcome,
        "counted_attempts": row.attempts,
        # An error that a later attempt made good is the activity's row's to tell.
        **{name: plain(row._mapping[name]) if failed else None for name in error},
        **moments(row._mapping, span),
        **_extraction(row.extraction),
    }


def _extraction(extraction: Any) -> dict[str, Any]:
    """Return all of an extraction, a column a value, but for its entities and relations and the time that it took."""
    if not isinstance(extraction, Mapping):
        return {"extraction": plain(extraction)}
    found: dict[str, Any] = {}
    for part, values in extraction.items():
        if not isinstance(values, Mapping):
            found[part] = plain(values)
            continue
        left_out = {"graph": ("entities", "relations"), "stats": ("durationMs",)}.get(part, ())
        found |= {f"{part}.{name}": plain(value) for name, value in values.items() if name not in left_out}
    return {**found, "duration_is_negative": is_negative(inside(inside(extraction, "stats"), "durationMs"))}


def is_negative(value: Any) -> bool:
    """Return whether a value is a number below 0."""
    return isinstance(value, int | float) and value < 0


def items(extraction: Any, kind: str) -> list[Any]:
    """Return the entities or relations of an extraction, as far as it has any."""
    found = inside(inside(extraction, "graph"), kind)
    return found if isinstance(found, list) else []


def item(document_id: str, key: str, position: int, value: Any) -> dict[str, Any]:
    """Return an entity or a relation, a column a value."""
    values = value if isinstance(value, Mapping) else {"value": value}
    columns = {name: plain(each) for name, each in values.items() if name != "id"}
    return {"document_id": document_id, key: values.get("id"), "position": position, **columns}
