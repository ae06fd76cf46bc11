"""The product's way in. ``import flows`` imports no Prefect; the engine is loaded by the first batch that it serves."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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


# Loaded when they are first asked for: a command that only shows its help needs none of them.
def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("flows.graph.frames" if name == "graph_of" else "flows.entrypoint"), name)
