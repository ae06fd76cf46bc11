"""The frames that both sides of a comparison are read into, and the keys by which their rows are found."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

# Key columns by frame, in the order in which differences are shown: what became of documents before what follows from it.
# `rows` has no numbering of its own: an old reader's key is what it looks a row up by.
KEYS: Mapping[str, tuple[str, ...]] = {
    "documents": ("document_id",),
    "entities": ("document_id", "entity_id"),
    "relations": ("document_id", "relation_id"),
    "contract": ("batch_id",),
    "events": ("document_id", "place"),
    "requests": ("document_id",),
    "batch": ("batch_id",),
    "batch_rows": ("table",),
    "document_rows": ("document_id",),
    "activity_rows": ("document_id", "attempt"),
    "mention_rows": ("document_id", "mention"),
    "lookup": ("question",),
}
# The document of what is the batch's own.
BATCH_LEVEL = ""

Frames = Mapping[str, "pd.DataFrame"]
Records = list[dict[str, Any]]


def frames(records: Mapping[str, Records]) -> Frames:
    """Return a frame for each of `KEYS`; those without records are empty."""
    return {name: _frame(name, records.get(name, [])) for name in KEYS}


def _frame(name: str, records: Records) -> "pd.DataFrame":
    # A third of a second that only a comparison is worth.
    import pandas as pd

    # Documents come in blocks, and which one comes first must not matter: their columns are in the order of the fullest record,
    # since a malformed document has few columns, and some that no other has.
    in_blocks = KEYS[name][0] == "document_id"
    fullest_first = sorted(records, key=len, reverse=True) if in_blocks else records
    columns = dict.fromkeys(column for record in fullest_first for column in record)
    # Objects throughout: pandas would make floats of counts where one is missing, and then 3 is 3.0.
    return pd.DataFrame(records, columns=list(columns or KEYS[name]), dtype=object)
