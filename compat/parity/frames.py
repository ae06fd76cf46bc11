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

    # Objects throughout: pandas would make floats of counts where one is missing, and then 3 is 3.0.
    return pd.DataFrame(records, columns=None if records else list(KEYS[name]), dtype=object)
