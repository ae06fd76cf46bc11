"""A source cut into batches that any number of workers share."""

from compat.fan_outs.records import WAITING, FanOut, Part, Standing
from compat.fan_outs.rows import add, batch_id_of, begin, cancel, complete, expand, find, note_submission, of_batch, standing

__all__ = [
    "WAITING",
    "FanOut",
    "Part",
    "Standing",
    "add",
    "batch_id_of",
    "begin",
    "cancel",
    "complete",
    "expand",
    "find",
    "note_submission",
    "of_batch",
    "standing",
]
