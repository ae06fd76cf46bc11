"""Shadow runs: the engine repeats what legacy served, and the two are compared."""

from typing import Any

# The entry points of deployments. Loaded on first use, since legacy and the command import no Prefect.
_ENTRY_POINTS = ("shadow_batch", "cutover_gate")


def __getattr__(name: str) -> Any:
    if name not in _ENTRY_POINTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from flows.shadow import comparison

    return getattr(comparison, name)
