"""The truth in rows: claims, documents, attempts, events and results of batches, in SQLite or PostgreSQL."""

from compat.store.claims import Claim
from compat.store.record import BatchRecord
from compat.store.store import Store

__all__ = ["BatchRecord", "Claim", "Store"]
