"""The truth in rows: claims, documents, attempts, events and results of batches, in SQLite or PostgreSQL."""

from compat.store.claims import Claim, Store

__all__ = ["Claim", "Store"]
