"""The product's way in. ``import flows`` imports no Prefect; the engine is loaded by the first batch that it serves."""

from flows.entrypoint import (
    arun_batch,
    cancel_batch,
    current_mode,
    demote,
    document_progress,
    get_status,
    list_batches,
    resume_batch,
    resume_request,
    run_batch,
    run_request,
    set_mode,
    start_batch,
    subscribe,
)
from flows.graph.frames import graph_of

__all__ = [
    "arun_batch",
    "cancel_batch",
    "current_mode",
    "demote",
    "document_progress",
    "get_status",
    "graph_of",
    "list_batches",
    "resume_batch",
    "resume_request",
    "run_batch",
    "run_request",
    "set_mode",
    "start_batch",
    "subscribe",
]
