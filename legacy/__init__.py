"""The old orchestrator: its own loops, its own activity retries. Never imports Prefect. Frozen by its golden tests."""

from legacy.orchestrator import run

__all__ = ["run"]
