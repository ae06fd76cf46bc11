"""The tables: four that old readers know (CONTRACT 8), and ours beside them."""

from compat.store.schema.base import Base, Json, OldRow, Plain, Utc
from compat.store.schema.batches import (
    IN_FLIGHT,
    BatchDocument,
    BatchEventRow,
    BatchRun,
    CanonicalMember,
    CanonicalRow,
    DocumentOutcome,
    OntologyContent,
    Switch,
)
from compat.store.schema.cutover import BatchCheck, CutoverRecord
from compat.store.schema.fan_outs import FanOutBatch, FanOutRow
from compat.store.schema.models import ModelAnswer, ModelCall, ModelLimit, ModelTurn
from compat.store.schema.old import BatchExecution, MentionRecord, WorkflowActivity, WorkflowExecution
from compat.store.schema.shadows import ShadowSubmission, StoredBaseline, StoredReport, TapeRow

__all__ = [
    "IN_FLIGHT",
    "Base",
    "BatchCheck",
    "BatchDocument",
    "BatchEventRow",
    "BatchExecution",
    "BatchRun",
    "CanonicalMember",
    "CanonicalRow",
    "CutoverRecord",
    "DocumentOutcome",
    "FanOutBatch",
    "FanOutRow",
    "Json",
    "MentionRecord",
    "ModelAnswer",
    "ModelCall",
    "ModelLimit",
    "ModelTurn",
    "OldRow",
    "OntologyContent",
    "Plain",
    "ShadowSubmission",
    "StoredBaseline",
    "StoredReport",
    "Switch",
    "TapeRow",
    "Utc",
    "WorkflowActivity",
    "WorkflowExecution",
]
